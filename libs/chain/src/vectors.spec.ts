import { createDecipheriv, createHash, createHmac, createPrivateKey, createPublicKey, hkdfSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { zstdDecompressSync } from 'node:zlib';
import { blake3 } from '@napi-rs/blake-hash';
import { describe, expect, it } from 'vitest';
import { asId, type ChainId } from '#libs/kernel';
import { deriveKey } from './keys/chain-keys.js';
import {
  ChainKeys,
  cycleToHex,
  decodeFence,
  decodeListPage,
  encodeFence,
  encodeListPage,
  encodeManifest,
  inspectSegment,
  openRecord,
  referenceTo,
  rsaUnwrapper,
  unwrapKey,
  verifyManifest,
  verifyWrappedKey,
} from './index.js';
import { Fingerprinter, RecordSealer } from './record.js';

interface Vectors {
  readonly chainId: string;
  readonly generation: number;
  readonly cycle: string;
  readonly dataKey: string;
  readonly fingerprintKey: string;
  readonly salt: string;
  readonly recordKey: string;
  readonly manifestKey: string;
  readonly records: readonly {
    readonly codec: 'raw' | 'zstd' | 'zero-run';
    readonly disk: number;
    readonly block: number;
    readonly count: number;
    readonly mask: number;
    readonly ordinal: number;
    readonly fingerprint: string;
    readonly plaintext: string;
    readonly record: string;
  }[];
  readonly segment: Record<string, unknown> & { readonly bytes: string; readonly sha256: string };
  readonly list: { readonly bytes: string; readonly sha256: string };
  readonly manifest: { readonly text: string; readonly sha256: string; readonly path: string };
  readonly fence: { readonly text: string; readonly sha256: string };
  readonly wrappedKey: { readonly text: string; readonly recipientPrivateKey: string; readonly writerPublicKey: string };
}

const vectors = JSON.parse(readFileSync(new URL('../../../test/fixtures/chain/v1.json', import.meta.url), 'utf8')) as Vectors;
const hex = (text: string): Buffer => Buffer.from(text, 'hex');
const base64 = (text: string): Buffer => Buffer.from(text, 'base64');

const chainId = asId<ChainId>(vectors.chainId);
const chainBytes = hex(vectors.chainId.replaceAll('-', ''));
const dataKey = hex(vectors.dataKey);
const fingerprintKey = hex(vectors.fingerprintKey);
const salt = hex(vectors.salt);
const cycle = BigInt(`0x${vectors.cycle}`);
const keys = new ChainKeys({ chainId, fingerprintKey, dataKeys: new Map([[vectors.generation, dataKey]]) });

/** What version 1 wrote once must be read, and written, for as long as version 1 is. */
describe('the vectors of version 1', () => {
  it('derive the same keys', () => {
    expect(deriveKey(dataKey, salt, 'record', chainBytes).export().toString('hex')).toBe(vectors.recordKey);
    expect(keys.manifestKey(vectors.generation).export().toString('hex')).toBe(vectors.manifestKey);
  });

  it('seal to the same records', () => {
    const sealer = new RecordSealer(chainId, deriveKey(dataKey, salt, 'record', chainBytes));
    const fingerprinter = new Fingerprinter(fingerprintKey);
    for (const { codec, disk, block, count, mask, fingerprint, plaintext, record } of vectors.records) {
      const plain = base64(plaintext);
      expect(fingerprinter.of(disk, block, count, mask, plain).toString('hex')).toBe(fingerprint);
      const expected = base64(record);
      const storedBytes = expected.length - 72 - 16;
      // What a compressor makes may change; what is sealed around it may not.
      const payload = codec === 'zstd' ? payloadByHand(expected) : plain;
      const header = { codec, disk, block, count, mask, plainBytes: plain.length, storedBytes, salt, fingerprint: hex(fingerprint) };
      const target = Buffer.alloc(expected.length);
      sealer.seal({ ...header, generation: vectors.generation, cycle }, payload, target, 0);
      expect(target.equals(expected)).toBe(true);
    }
  });

  it('open to the same content', () => {
    for (const { record, plaintext, ordinal, fingerprint, ...place } of vectors.records) {
      const opened = openRecord(base64(record), keys);
      expect(opened.header).toMatchObject({ ...place, ordinal, cycle, generation: vectors.generation });
      expect(opened.header.fingerprint.toString('hex')).toBe(fingerprint);
      expect(opened.plaintext.equals(base64(plaintext))).toBe(true);
    }
  });

  it('describe the same segment and list page', () => {
    const { bytes, sha256, cycles, ...rest } = vectors.segment;
    const summary = inspectSegment(base64(bytes), { chainId, cycle, sha256 });
    expect({ ...summary, cycles: summary.cycles.map(cycleToHex) }).toEqual({ ...rest, sha256, cycles });
    const page = decodeListPage(base64(vectors.list.bytes), { chainId });
    expect(summary).toMatchObject(page.entries[0]!);
    expect(encodeListPage(page)).toEqual({ bytes: base64(vectors.list.bytes), sha256: vectors.list.sha256 });
  });

  it('read and write the same manifest and fence', () => {
    const manifest = verifyManifest(Buffer.from(vectors.manifest.text), keys);
    expect(manifest.lists).toEqual([{ sha256: vectors.list.sha256, entryCount: 1 }]);
    expect(encodeManifest(manifest, keys)).toEqual({ bytes: Buffer.from(vectors.manifest.text), sha256: vectors.manifest.sha256 });
    const fence = decodeFence(Buffer.from(vectors.fence.text), { chainId });
    expect(fence.frozenPoint).toEqual(referenceTo(manifest, vectors.manifest.sha256));
    expect(fence.frozenPoint?.path).toBe(vectors.manifest.path);
    expect(encodeFence(fence)).toEqual({ bytes: Buffer.from(vectors.fence.text), sha256: vectors.fence.sha256 });
  });

  it('unwrap to the same key', async () => {
    const { text, recipientPrivateKey, writerPublicKey } = vectors.wrappedKey;
    const writerKey = createPublicKey({ key: base64(writerPublicKey), format: 'der', type: 'spki' });
    const privateKey = createPrivateKey({ key: base64(recipientPrivateKey), format: 'der', type: 'pkcs8' });
    const object = verifyWrappedKey(Buffer.from(text), { chainId, writerKey });
    expect(await unwrapKey(object, rsaUnwrapper(privateKey))).toEqual(dataKey);
  });
});

/** Follows FORMAT.md by its offsets alone, and shares nothing with the code it checks. */
describe('FORMAT.md alone', () => {
  it('is enough to open a segment', () => {
    const segment = base64(vectors.segment.bytes);
    expect(createHash('sha256').update(segment).digest('hex')).toBe(vectors.segment.sha256);
    const trailer = segment.subarray(-24);
    expect(trailer.subarray(16).toString()).toBe('HFSEGEND');
    const footerAt = trailer.readUInt32BE(0);
    let entryAt = footerAt + 4;
    let recordAt = 32;
    for (let index = 0; index < trailer.readUInt32BE(8); index += 1) {
      const header = segment.subarray(entryAt, entryAt + 72);
      expect(segment.subarray(recordAt, recordAt + 72).equals(header)).toBe(true);
      const storedBytes = header.readUInt32BE(36);
      const plaintext = openByHand(segment.subarray(recordAt, recordAt + 72 + storedBytes + 16));
      expect(plaintext.equals(base64(vectors.records[index]!.plaintext))).toBe(true);
      entryAt += header[4] === 2 ? 88 : 72;
      recordAt += 72 + storedBytes + 16;
    }
    expect(recordAt).toBe(footerAt);
  });

  it('is enough to check a manifest', () => {
    const [document, mac] = vectors.manifest.text.split('\n');
    const key = hkdfSync('sha256', dataKey, Buffer.alloc(0), Buffer.concat([Buffer.from('manifest'), chainBytes]), 32);
    expect(createHmac('sha256', Buffer.from(key)).update(document!).digest('hex')).toBe(mac);
  });

  it('is enough to follow a path', () => {
    const { parent, cycle: own } = JSON.parse(vectors.manifest.text.split('\n')[0]!) as {
      parent: { path: string; cycle: string };
      cycle: string;
    };
    const next = (path: Buffer, number: string): string =>
      createHash('sha256')
        .update(Buffer.concat([Buffer.from('holdfast.path'), path, hex(number)]))
        .digest('hex');
    expect(next(Buffer.alloc(32), parent.cycle)).toBe(parent.path);
    expect(next(hex(parent.path), own)).toBe(vectors.manifest.path);
  });

  it('does not leak an unkeyed hash of the content', () => {
    for (const { plaintext, record } of vectors.records) {
      const unkeyed = blake3(base64(plaintext)).subarray(0, 16);
      expect(base64(record).includes(unkeyed)).toBe(false);
    }
  });
});

function payloadByHand(record: Buffer): Buffer {
  const header = record.subarray(0, 72);
  const info = Buffer.concat([Buffer.from('record'), chainBytes]);
  const key = hkdfSync('sha256', dataKey, header.subarray(40, 56), info, 32);
  const nonce = Buffer.concat([Buffer.alloc(8), header.subarray(20, 24)]);
  const decipher = createDecipheriv('aes-256-gcm', Buffer.from(key), nonce);
  decipher.setAAD(Buffer.concat([chainBytes, header]));
  decipher.setAuthTag(record.subarray(-16));
  return Buffer.concat([decipher.update(record.subarray(72, -16)), decipher.final()]);
}

function openByHand(record: Buffer): Buffer {
  const payload = payloadByHand(record);
  return record[4] === 1 ? zstdDecompressSync(payload) : payload;
}
