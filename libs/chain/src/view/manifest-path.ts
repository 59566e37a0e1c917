import { CodedError } from '#libs/kernel';
import { corrupt } from '../chain-errors.js';
import { MANIFEST_BYTES_MAX } from '../limits.js';
import { decodeListPage, LIST_PAGE_BYTES_MAX, type ListEntry } from '../manifest/list-page.js';
import { verifyManifest } from '../manifest/manifest-codec.js';
import { areSameRefs, referenceTo } from '../manifest/manifest-ref.js';
import type { Manifest, ManifestRef } from '../manifest/manifest.js';
import { getPinned, type ViewSource } from './view-source.js';

/** One manifest, authentic and what its child (or the caller) pinned. */
async function loadManifest(source: ViewSource, ref: ManifestRef): Promise<Manifest> {
  const bytes = await getPinned(source, source.names.manifest(ref), ref.sha256, MANIFEST_BYTES_MAX, 'view.manifest-missing');
  const manifest = verifyManifest(bytes, source.keys);
  if (!areSameRefs(referenceTo(manifest, ref.sha256), ref)) {
    throw corrupt('view.broken-path', 'a manifest is not the one it was taken for', { sha256: ref.sha256 });
  }
  return manifest;
}

/**
 * From `head` to the root, newest first; or to the child of `until`, then `until` itself as the last one.
 * Each manifest pins its parent by hash, so the whole path is as authentic as its head.
 */
export async function* walkPath(
  source: ViewSource,
  head: ManifestRef,
  until?: ManifestRef,
): AsyncGenerator<{ ref: ManifestRef; manifest: Manifest }> {
  for (let ref: ManifestRef | null = head; ref !== null;) {
    const manifest: Manifest = await loadManifest(source, ref);
    yield { ref, manifest };
    if (ref.sha256 === until?.sha256) return;
    ref = manifest.parent;
  }
  if (until !== undefined)
    throw new CodedError('chain.not-an-ancestor', 'invalid', 'the older point does not lie on the path of the newer one');
}

/** The segments a manifest lists. */
export async function* segmentsOf(source: ViewSource, manifest: Manifest): AsyncGenerator<ListEntry> {
  for (const { sha256, entryCount } of manifest.lists) {
    const bytes = await getPinned(source, source.names.list(sha256), sha256, LIST_PAGE_BYTES_MAX, 'view.list-missing');
    const page = decodeListPage(bytes, manifest);
    if (page.cycle !== manifest.cycle || page.entries.length !== entryCount) {
      throw corrupt('view.broken-path', 'a list page is not the one its manifest means', { sha256 });
    }
    yield* page.entries;
  }
}
