import { ListMultipartUploadsCommand, ListObjectsV2Command, ListObjectVersionsCommand } from '@aws-sdk/client-s3';
import { listingBroken } from './object-errors.js';
import type { ObjectEntry } from './object-store.js';
import type { S3Connection } from './s3-connection.js';

/** One of the states that a key had on a versioned bucket; a delete marker is one too. */
export interface ObjectVersion {
  readonly versionId: string;
  readonly isLatest: boolean;
}

export interface UnfinishedUpload {
  readonly key: string;
  readonly uploadId: string;
  readonly startedAt: Date;
}

/**
 * Listings that are whole or fail. A server, or something on the way to it, can answer 200 with half a page, none, or the same one again: so
 * each page must say whether another follows and how to get it, name everything, and go on where the one before ended.
 */
export async function* listObjects(connection: S3Connection, prefix: string): AsyncGenerator<ObjectEntry> {
  const wholePrefix = connection.keyPrefix + prefix;
  let last = '';
  for await (const page of pagesOf(
    connection,
    prefix,
    (token?: string) => {
      const from = token === undefined ? {} : { ContinuationToken: token };
      return connection.client.send(new ListObjectsV2Command({ Bucket: connection.bucket, Prefix: wholePrefix, ...from }));
    },
    (page) => page.NextContinuationToken,
  )) {
    const entries = page.Contents ?? [];
    if (page.KeyCount !== undefined && page.KeyCount !== entries.length) {
      throw listingBroken(`a page of ${page.KeyCount} objects has ${entries.length}`);
    }
    for (const { Key: key, Size: sizeBytes } of entries) {
      if (key === undefined || sizeBytes === undefined) throw listingBroken('an object has no name or no size');
      if (!key.startsWith(wholePrefix) || key <= last) throw listingBroken('it is out of order');
      last = key;
      yield { key: key.slice(connection.keyPrefix.length), sizeBytes };
    }
  }
}

/** What the bucket keeps of one key. */
export async function listVersions(connection: S3Connection, key: string): Promise<ObjectVersion[]> {
  const { Bucket, Key } = connection.named(key);
  const found: ObjectVersion[] = [];
  const pages = pagesOf(
    connection,
    key,
    (from?: { key: string; version: string | undefined }) => {
      const markers = from === undefined ? {} : { KeyMarker: from.key, VersionIdMarker: from.version };
      return connection.client.send(new ListObjectVersionsCommand({ Bucket, Prefix: Key, ...markers }));
    },
    (page) => (page.NextKeyMarker === undefined ? undefined : { key: page.NextKeyMarker, version: page.NextVersionIdMarker }),
  );
  for await (const page of pages) {
    const ofPage = [...(page.Versions ?? []), ...(page.DeleteMarkers ?? [])];
    for (const version of ofPage.filter((version) => version.Key === Key)) {
      if (version.VersionId === undefined) throw listingBroken('a version has no id');
      found.push({ versionId: version.VersionId, isLatest: version.IsLatest === true });
    }
    // Keys come in order: those that only begin like this one stand behind it.
    if (ofPage.some((version) => (version.Key ?? '') > Key)) break;
  }
  return found;
}

/** The unfinished multipart uploads of all keys of the connection's prefix. */
export async function* listUploads(connection: S3Connection): AsyncGenerator<UnfinishedUpload> {
  const { bucket: Bucket, keyPrefix: Prefix } = connection;
  const pages = pagesOf(
    connection,
    '',
    (from?: { key: string; upload: string | undefined }) => {
      const markers = from === undefined ? {} : { KeyMarker: from.key, UploadIdMarker: from.upload };
      return connection.client.send(new ListMultipartUploadsCommand({ Bucket, Prefix, ...markers }));
    },
    (page) => (page.NextKeyMarker === undefined ? undefined : { key: page.NextKeyMarker, upload: page.NextUploadIdMarker }),
  );
  for await (const page of pages) {
    for (const { Key, UploadId, Initiated } of page.Uploads ?? []) {
      if (Key === undefined || UploadId === undefined || Initiated === undefined) throw listingBroken('an upload has no name or no age');
      yield { key: Key.slice(Prefix.length), uploadId: UploadId, startedAt: Initiated };
    }
  }
}

/** `next` fetches the page after a marker; `markerOf` tells where the one after this page begins. */
async function* pagesOf<Page extends { IsTruncated?: boolean | undefined }, Marker>(
  connection: S3Connection,
  key: string,
  next: (from?: Marker) => Promise<Page>,
  markerOf: (page: Page) => Marker | undefined,
): AsyncGenerator<Page> {
  let marker: Marker | undefined;
  for (;;) {
    const page: Page = await connection.speak(key, () => next(marker));
    if (page.IsTruncated === undefined) throw listingBroken('a page does not say whether it is the last');
    yield page;
    if (!page.IsTruncated) return;
    const following = markerOf(page);
    if (following === undefined) throw listingBroken('a page does not say where the next begins');
    if (JSON.stringify(following) === JSON.stringify(marker)) throw listingBroken('a page follows itself');
    marker = following;
  }
}
