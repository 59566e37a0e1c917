import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { inspectDisk } from './inspect-disk.js';
import { openDiskImage } from './open-disk-image.js';
import { contentOf, MemoryDisk } from './testing/memory-disk.js';

/* Files that this library, and QEMU, have written once. Whatever changes, they open for ever. */

interface Fixture {
  readonly file: string;
  readonly format: string;
  readonly type: string;
  readonly diskSizeBytes: number;
  readonly contentSha256: string;
  readonly parents: readonly string[];
}

const directory = new URL('../../../test/fixtures/vhd/', import.meta.url);
const fixtures = JSON.parse(readFileSync(new URL('manifest.json', directory), 'utf8')) as Fixture[];
const source = (file: string) => new MemoryDisk(gunzipSync(readFileSync(new URL(`${file}.gz`, directory))));

describe('a disk image from before', () => {
  it.each(fixtures)('$file is read as ever', async ({ file, format, type, diskSizeBytes, contentSha256, parents }) => {
    expect(await inspectDisk(source(file))).toMatchObject({ format, type, diskSizeBytes });
    const disk = await openDiskImage(source(file), { parents: parents.map(source) });
    const digest = createHash('sha256').update(await contentOf(disk));
    expect(digest.digest('hex')).toBe(contentSha256);
  });
});
