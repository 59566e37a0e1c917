import { type Mutant, at, CHAIN, inCatalogue, inCommit, inFileStore, inRebuild, inSegments, inTampering, inViews } from './places.js';
import { UPKEEP_MUTANTS } from './upkeep-mutants.js';

/**
 * The mutation list: mistakes that would lose data, tell wrong bytes or let in who must stay out, one line each. Every one of them is found by the spec that stands beside
 * it, in the turns that this spec takes in `npm test` and always with the same examples; one that survives fails `test/integration/mutants.spec.ts`, and so does one whose text has left its file.
 */
export const MUTANTS: readonly Mutant[] = [
  // What is durable, and when.
  {
    name: 'a missing fsync of a file',
    isOften: true,
    ...inFileStore('file-object-store.ts'),
    from: '    await file.sync();\n  } finally',
    to: '  } finally',
  },
  { name: 'a missing fsync of a directory', ...inFileStore('durable-directories.ts'), from: 'await handle.sync();', to: '' },
  {
    name: 'the database before the manifest',
    isOften: true,
    ...inCommit('commit-cycle.ts'),
    from: 'await this.store.put(names.manifest(manifest), bytes, { sizeBytes: bytes.length, sha256: manifestSha256 });',
    to: 'setTimeout(() => void this.store.put(names.manifest(manifest), bytes, { sizeBytes: bytes.length, sha256: manifestSha256 }).catch(() => {}), 50);',
  },
  {
    name: 'a list page that is told of before it is durable',
    ...inCommit('cycle-uploads.ts'),
    from: 'await this.store.put(names.list(sha256), bytes, { sizeBytes: bytes.length, sha256 });',
    to: 'void this.store.put(names.list(sha256), bytes, { sizeBytes: bytes.length, sha256 }).catch(() => {});',
  },
  // What a view shows.
  {
    name: 'a view that prefers the older record',
    isOften: true,
    ...inViews('indexes/merge-page.ts'),
    from: 'for (const { page, end } of parts)',
    to: 'for (const { page, end } of [...parts].reverse())',
  },
  {
    name: 'an index that omits the last record of a page',
    isOften: true,
    ...inViews('indexes/merge-page.ts'),
    from: 'for (let index = 0; index < page.count; index += 1)',
    to: 'for (let index = 0; index < page.count - 1; index += 1)',
  },
  {
    name: 'a shrunk disk whose end nobody heeds',
    ...at(`${CHAIN}/indexes/merge-page.ts`, `${CHAIN}/view/open-view.spec.ts`),
    from: '    endAt(end, decided);\n',
    to: '',
  },
  // What is authentic.
  { name: 'a skipped tag check', isOften: true, ...inTampering('record.ts'), from: '    decipher.final();\n', to: '' },
  {
    name: 'a skipped cycle check',
    isOften: true,
    ...inTampering('view/open-records.ts'),
    from: 'cycle === wanted.cycle',
    to: 'true',
  },
  {
    name: 'a manifest that is believed without its MAC',
    ...at(`${CHAIN}/manifest/manifest-codec.ts`, `${CHAIN}/manifest/documents.spec.ts`),
    from: "throw corrupt('manifest.mac-mismatch'",
    to: "void corrupt('manifest.mac-mismatch'",
  },
  {
    name: 'a fence that is believed whatever its hash says',
    ...at(`${CHAIN}/manifest/fence.ts`, `${CHAIN}/manifest/documents.spec.ts`, 'a fence'),
    from: 'if (seal !== sha256Hex(document))',
    to: 'if (seal === null)',
  },
  { name: 'a reused nonce', isOften: true, ...inSegments('record.ts', 'holds what was sealed'), from: 'this.#nextOrdinal += 1;', to: '' },
  {
    name: 'a salt that comes twice',
    ...inSegments('segment/segment-builder.ts', 'has another salt'),
    from: 'this.#salt = randomBytes(SALT_BYTES);',
    to: 'this.#salt = Buffer.alloc(SALT_BYTES);',
  },
  {
    name: 'a scrub that compares no hash',
    ...at(`${CHAIN}/maintenance/scrub-objects.ts`, `${CHAIN}/maintenance/scrub.spec.ts`, 'finds a bit'),
    from: 'if (found !== expected)',
    to: 'if (found === null)',
  },
  // Who may write, and to what.
  {
    name: 'no check of the authorization tag',
    ...inCatalogue('checks tag'),
    from: 'if (chain.tag !== writer.tag)',
    to: 'if (chain.tag === null)',
  },
  {
    name: 'no check of the parent',
    isOften: true,
    ...inCatalogue('checks tag'),
    from: 'if ((chain.head?.sha256 ?? null) !== request.parent)',
    to: 'if (request.parent === undefined)',
  },
  {
    name: 'a commit before the fingerprint key is durable',
    ...inCatalogue('come before every commit'),
    from: '  await requireFingerprintKey(tx, row.chain_id);\n',
    to: '',
  },
  {
    name: 'a destroyed tenant key that a backup brings back to life',
    ...at('libs/pki/src/file-key-provider.ts', 'libs/pki/src/keys.spec.ts', 'a backup brought back'),
    from: 'if (isDestroyed) throw',
    to: 'if (sealed === undefined) throw',
  },
  { name: 'no check of the epoch', ...inCatalogue('an epoch'), from: 'cycles.requireEpoch(chain.epoch, cycles.epochOf(row));', to: '' },
  { name: 'a commit without a lease', ...inCatalogue('lease has run out'), from: "options.lease === 'must-hold' && ", to: 'false && ' },
  {
    name: 'missing idempotency: a repeated commit is a new one',
    isOften: true,
    ...inCatalogue('answered from the row'),
    from: "  if (row.state !== 'committed') return null;",
    to: '  if (row.id !== null) return null;',
  },
  {
    name: 'a commit that takes doomed segments',
    ...inCatalogue('alive and disjoint'),
    from: 'segment === undefined || segment.doomed_at !== null',
    to: 'segment === undefined',
  },
  {
    name: 'segments of one cycle that overlap',
    ...inCatalogue('alive and disjoint', `${CHAIN}/catalogue/check-commit.ts`),
    from: 'comparePositions(before.last, segment.first) >= 0',
    to: 'segment.first === null',
  },
  // Fences and rebuilding.
  {
    name: 'no fence: manifests of a lost role count',
    isOften: true,
    ...inRebuild('rebuild/choose-manifests.ts'),
    from: 'if (order === 0) return branchId !== ref.branchId;\n    return order < 0 && ',
    to: 'return order > 2 && ',
  },
  {
    name: 'a doom before the snapshot that tells of it',
    isOften: true,
    ...inRebuild('maintenance/compact.ts'),
    from: 'await writeSnapshot(place, reading.snapshot, contentAfter(reading, moved, replacements))',
    to: '(await Promise.resolve([]))',
  },
  ...UPKEEP_MUTANTS,
];
