import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { newId, PlatformError, type BranchId, type ChainId, type TenantId } from '#libs/kernel';
import {
  cycleNumber,
  decodeFence,
  decodeListPage,
  decodeManifest,
  encodeFence,
  encodeListPage,
  encodeManifest,
  ObjectNames,
  paginate,
  verifyManifest,
  type ListEntry,
  type Manifest,
} from '../index.js';
import { aDisk, aVm, ChainWriter } from '../testing/chain-writer.js';
import { count } from '../../../../test/support/counts.js';

const { keys, chainId, branchId, names } = new ChainWriter();
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

function codeOf(work: () => unknown): string {
  try {
    work();
    return 'ok';
  } catch (error) {
    expect(error).toBeInstanceOf(PlatformError);
    return (error as PlatformError).code;
  }
}

const manifest: Manifest = {
  kind: 'point',
  chainId,
  branchId,
  sequence: 5,
  cycle: cycleNumber(2, 9),
  epoch: { incarnation: 2, counter: 3 },
  keyGeneration: 1,
  parent: { branchId: newId<BranchId>(), sequence: 4, cycle: cycleNumber(1, 77), sha256: sha256('parent'), path: sha256('path') },
  instant: '2026-03-01T12:34:56.789Z',
  consistency: 'application',
  disks: [aDisk(0, 512), { ...aDisk(7, 2 ** 46), name: 'Daten – ü', bus: 'nvme', bootOrder: null }],
  vm: { ...aVm, nvramBytes: 65_536 },
  lists: [{ sha256: sha256('list'), entryCount: 4096 }],
};

describe('a manifest', () => {
  const { bytes, sha256: name } = encodeManifest(manifest, keys);

  it('comes back as it was, with and without keys, from bytes that are always the same', () => {
    expect(decodeManifest(bytes, { chainId })).toEqual(manifest);
    expect(verifyManifest(bytes, keys)).toEqual(manifest);
    expect(encodeManifest({ ...manifest, vm: { ...manifest.vm } }, keys)).toEqual({ bytes, sha256: name });
    expect(name).toBe(createHash('sha256').update(bytes).digest('hex'));
  });

  it('is refused by its chain, by its keys and by its MAC', () => {
    expect(codeOf(() => decodeManifest(bytes, { chainId: newId<ChainId>() }))).toBe('manifest.foreign-chain');
    const forged = Buffer.from(bytes.toString().replace('"secureBoot":true', '"secureBoot":false'));
    expect(codeOf(() => decodeManifest(forged, keys))).toBe('ok');
    expect(codeOf(() => verifyManifest(forged, keys))).toBe('manifest.mac-mismatch');
    const { bytes: unknown } = encodeManifest({ ...manifest, keyGeneration: 2 }, keys);
    const other = Buffer.from(unknown.toString().replace('"keyGeneration":2', '"keyGeneration":9'));
    expect(codeOf(() => verifyManifest(other, keys))).toBe('keys.generation-missing');
  });

  it.each([
    ['a sequence that does not follow its parent', { sequence: 7 }],
    ['a root that is not the first', { parent: null }],
    ['a parent that is newer', { parent: { ...manifest.parent!, cycle: cycleNumber(3, 1) } }],
    ['disks that do not ascend', { disks: [aDisk(1, 512), aDisk(1, 512)] }],
    ['the reserved disk', { disks: [aDisk(65_535, 512)] }],
    ['a size that is not in sectors', { disks: [aDisk(0, 513)] }],
    ['a disk that is too large', { disks: [aDisk(0, 2 ** 46 + 512)] }],
    ['an empty name', { disks: [{ ...aDisk(0, 512), name: '' }] }],
    ['a name that steers a terminal', { disks: [{ ...aDisk(0, 512), name: 'a\u001b[2J' }] }],
    ['an instant without a time', { instant: '2026-03-01' }],
    ['too many segments a page', { lists: [{ sha256: sha256('x'), entryCount: 4097 }] }],
    ['a field it does not know', { extra: 1 } as Partial<Manifest>],
    ['a kind it does not know', { kind: 'other' } as unknown as Partial<Manifest>],
    ['too large firmware state', { vm: { ...aVm, nvramBytes: 2 ** 24 + 1 } }],
  ] as [string, Partial<Manifest>][])('is malformed with %s', (_case, changes) => {
    expect(codeOf(() => encodeManifest({ ...manifest, ...changes }, keys))).toBe('manifest.malformed');
  });

  it('has one form only', () => {
    const text = bytes.toString();
    for (const changed of [
      text.replace('{"', '{ "'),
      text.replace('"counter":3', '"counter":3.0'),
      text.replace('"kind":"point"', '"kind":"point","kind":"point"'),
      text.slice(0, -1),
      `${text}\n`,
      text.replace('\n', ''),
      text.toUpperCase(),
      text.replace('"format":"holdfast.manifest"', '"format":"holdfast.fence"'),
      'null\n' + '0'.repeat(64) + '\n',
      '['.repeat(100_000) + '\n' + '0'.repeat(64) + '\n',
      '',
    ]) {
      expect(codeOf(() => decodeManifest(Buffer.from(changed), keys))).toBe('manifest.malformed');
    }
    expect(codeOf(() => decodeManifest(Buffer.from(text.replace('"version":1', '"version":2')), keys))).toBe(
      'manifest.version-unsupported',
    );
    expect(codeOf(() => decodeManifest(Buffer.alloc(1024 * 1024 + 1, 32), keys))).toBe('manifest.too-large');
  });

  it('never survives a change', () => {
    fc.assert(
      fc.property(fc.nat(), fc.constantFrom('flip', 'cut', 'double'), (where, how) => {
        const at = (where >> 3) % bytes.length;
        let changed = Buffer.from(bytes);
        if (how === 'flip') changed[at]! ^= 1 << (where & 7);
        else if (how === 'cut') changed = changed.subarray(0, at);
        else changed = Buffer.concat([changed.subarray(0, at), changed]);
        if (!changed.equals(bytes)) expect(codeOf(() => verifyManifest(changed, keys))).toMatch(/^(manifest|keys)\./);
      }),
      { numRuns: count(1_000, 50_000) },
    );
  });
});

function entryAt(disk: number, block: number, blocks = 5): ListEntry {
  return {
    sha256: sha256(`${disk} ${block}`),
    sizeBytes: 5000,
    footerBytes: 300,
    footerSha256: sha256('footer'),
    recordCount: 3,
    plainBytes: 12_288,
    first: { disk, block },
    last: { disk, block: block + blocks - 1 },
  };
}

describe('a list page', () => {
  const page = { chainId, cycle: cycleNumber(1, 1), entries: [entryAt(0, 0), entryAt(0, 5), entryAt(3, 0)] };
  const { bytes } = encodeListPage(page);

  it('comes back as it was', () => {
    expect(decodeListPage(bytes, { chainId })).toEqual(page);
    expect(encodeListPage(page).bytes.equals(bytes)).toBe(true);
  });

  it('is refused with its own codes', () => {
    const changed = (change: (copy: Buffer) => void): string => {
      const copy = Buffer.from(bytes);
      change(copy);
      return codeOf(() => decodeListPage(copy, { chainId }));
    };
    expect(codeOf(() => decodeListPage(bytes, { chainId: newId<ChainId>() }))).toBe('list.foreign-chain');
    expect(codeOf(() => decodeListPage(bytes.subarray(0, -1), { chainId }))).toBe('list.malformed');
    expect(codeOf(() => decodeListPage(Buffer.alloc(0), { chainId }))).toBe('list.malformed');
    expect(changed((copy) => copy.writeUInt8(0, 0))).toBe('list.malformed');
    expect(changed((copy) => copy.writeUInt8(2, 3))).toBe('list.version-unsupported');
    expect(changed((copy) => copy.writeUInt32BE(0, 4))).toBe('list.malformed');
    expect(changed((copy) => copy.writeUInt32BE(5000, 4))).toBe('list.too-large');
    expect(changed((copy) => copy.writeUInt32BE(0, 32 + 64))).toBe('list.malformed');
    expect(codeOf(() => encodeListPage({ ...page, entries: [entryAt(0, 0), entryAt(0, 4)] }))).toBe('list.out-of-order');
    expect(codeOf(() => encodeListPage({ ...page, entries: [] }))).toBe('list.malformed');
  });

  it('holds 4096 entries; more need more pages', () => {
    const entries = Array.from({ length: 4097 }, (_, index) => entryAt(0, index * 5)).reverse();
    const pages = paginate(chainId, 1n, entries);
    expect(pages.map((one) => one.entries.length)).toEqual([4096, 1]);
    expect(pages[0]!.entries[0]).toEqual(entryAt(0, 0));
    expect(decodeListPage(encodeListPage(pages[0]!).bytes, { chainId })).toEqual(pages[0]);
    expect(paginate(chainId, 1n, [])).toEqual([]);
  });
});

describe('a fence', () => {
  it('comes back as it was, and is refused with its own codes', () => {
    const fence = { chainId, epoch: manifest.epoch, branchId, frozenPoint: manifest.parent, left: { branchId, head: manifest.parent } };
    const { bytes } = encodeFence(fence);
    expect(decodeFence(bytes, { chainId })).toEqual(fence);
    const first = { ...fence, frozenPoint: null, left: null };
    expect(decodeFence(encodeFence(first).bytes, { chainId })).toEqual(first);
    expect(codeOf(() => decodeFence(bytes, { chainId: newId<ChainId>() }))).toBe('fence.foreign-chain');
    expect(codeOf(() => decodeFence(bytes.subarray(1), { chainId }))).toBe('fence.malformed');
    expect(codeOf(() => decodeFence(Buffer.from(bytes.toString().replace('"version":1', '"version":3')), { chainId }))).toBe(
      'fence.version-unsupported',
    );
    expect(codeOf(() => decodeFence(Buffer.alloc(5000), { chainId }))).toBe('fence.too-large');
    for (let bit = 0; bit < bytes.length * 8; bit += 1) {
      const flipped = Buffer.from(bytes);
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      expect(
        codeOf(() => decodeFence(flipped, { chainId })),
        `bit ${bit}`,
      ).toMatch(/^fence\./);
    }
  });
});

describe('object names', () => {
  let made: ObjectNames;

  beforeAll(() => {
    made = new ObjectNames('018f0000-0000-7000-8000-000000000001' as TenantId, '018f0000-0000-7000-8000-000000000002' as ChainId);
  });

  it('are made of ids and numbers, and sort as these do', () => {
    const ref = { branchId: '018f0000-0000-7000-8000-000000000003' as BranchId, sequence: 12, cycle: cycleNumber(1, 255) };
    const base = 't/018f0000-0000-7000-8000-000000000001/c/018f0000-0000-7000-8000-000000000002';
    expect(made.segment('a'.repeat(64))).toBe(`${base}/s/${'a'.repeat(64)}`);
    expect(made.list('b'.repeat(64))).toBe(`${base}/l/${'b'.repeat(64)}`);
    expect(made.manifest(ref)).toBe(`${base}/m/018f0000-0000-7000-8000-000000000003/0000000012-00010000000000ff`);
    expect(made.fence({ incarnation: 1, counter: 20 })).toBe(`${base}/f/00001-000000000000020`);
    expect(made.wrappedKey({ generation: 3, kind: 'data', recipient: 'c'.repeat(64) })).toBe(`${base}/k/00003-data-${'c'.repeat(64)}`);
  });

  it('take nothing that is not an id or a hash', () => {
    expect(() => names.segment('../../etc/passwd')).toThrow('SHA-256');
    expect(() => names.manifestsOf('..' as BranchId)).toThrow('ids');
    expect(() => new ObjectNames('x' as TenantId, chainId)).toThrow('ids');
  });
});
