import { createHash, createPrivateKey, createPublicKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { beforeAll, describe, expect, it } from 'vitest';
import { asId, type BranchId, type ChainId, SystemClock, type TenantId } from '#libs/kernel';
import { MemoryObjectStore, MeteredObjectStore, putBytes } from '#libs/object-store';
import {
  ChainKeys,
  cycleToHex,
  type IndexEntry,
  openView,
  readChainFromStore,
  readStamp,
  type RecoveredChain,
  rsaUnwrapper,
  unwrapKey,
  verifyWrappedKey,
} from './index.js';

/* A whole chain as version 1 left it in the store once: objects of every kind. Whatever changes, it is read for ever, by its keys and the store alone. */

type StoredIndex = Omit<IndexEntry, 'lastCycle' | 'branchId'> & { readonly lastCycle: string; readonly branchId: string };

interface OldChain {
  readonly tenantId: string;
  readonly chainId: string;
  readonly installation: { readonly id: string; readonly incarnation: number };
  readonly recipientPrivateKey: string;
  readonly writerPublicKey: string;
  readonly points: readonly { readonly cycle: string; readonly sizeBytes: number; readonly contentSha256: string }[];
  readonly head: string;
  readonly indexes: { readonly inline: readonly StoredIndex[]; readonly withPart: readonly StoredIndex[] };
  readonly objects: Readonly<Record<string, string>>;
}

const old = JSON.parse(
  gunzipSync(readFileSync(new URL('../../../test/fixtures/chain/v1-chain.json.gz', import.meta.url))).toString(),
) as OldChain;
const address = { tenantId: asId<TenantId>(old.tenantId), chainId: asId<ChainId>(old.chainId) };
const prefix = `t/${old.tenantId}/c/${old.chainId}/`;

describe('a chain from before', () => {
  const store = new MemoryObjectStore();
  let keys: ChainKeys;
  let found: RecoveredChain;

  beforeAll(async () => {
    for (const [name, bytes] of Object.entries(old.objects)) await putBytes(store, name, Buffer.from(bytes, 'base64'));
    const writerKey = createPublicKey({ key: Buffer.from(old.writerPublicKey, 'base64'), format: 'der', type: 'spki' });
    const unwrap = rsaUnwrapper(createPrivateKey({ key: Buffer.from(old.recipientPrivateKey, 'base64'), format: 'der', type: 'pkcs8' }));
    const opened = new Map<string, Buffer>();
    for await (const { key } of store.list(`${prefix}k/`)) {
      const wrapped = verifyWrappedKey(await store.get(key), { chainId: address.chainId, writerKey });
      opened.set(wrapped.kind, await unwrapKey(wrapped, unwrap));
    }
    keys = new ChainKeys({ ...address, fingerprintKey: opened.get('fingerprint')!, dataKeys: new Map([[1, opened.get('data')!]]) });
    found = await readChainFromStore(store, address);
  });

  it('has every kind of object', () => {
    const kinds = new Set(Object.keys(old.objects).map((name) => (name.startsWith(prefix) ? name.slice(prefix.length)[0] : name[0])));
    expect([...kinds].sort().join('')).toBe('fiklmsvx');
  });

  it('tells its stamp, its roles after the failover and its points', async () => {
    expect(await readStamp(store)).toEqual(old.installation);
    expect(found).toMatchObject({ epoch: { incarnation: 1, counter: 2 }, leftOut: [] });
    expect(found.branches).toHaveLength(2);
    expect(found.replacements.length).toBeGreaterThan(0);
    const cycles = new Set(found.manifests.filter(({ isPoint }) => isPoint).map(({ ref }) => cycleToHex(ref.cycle)));
    for (const { cycle } of old.points) expect(cycles.has(cycle)).toBe(true);
  });

  const read = async (cycle: string, indexes: readonly StoredIndex[] = [], from: MemoryObjectStore | MeteredObjectStore = store) => {
    const entries = new Map(found.segments.map((entry) => [entry.sha256, entry]));
    const replacements = new Map(found.replacements.map(({ segment, by }) => [segment, by.map((sha256) => entries.get(sha256)!)]));
    const head = found.manifests.find(({ ref }) => cycleToHex(ref.cycle) === cycle)!.ref;
    const known = indexes.map((index) => ({
      ...index,
      lastCycle: BigInt(`0x${index.lastCycle}`),
      branchId: asId<BranchId>(index.branchId),
    }));
    const view = await openView({ ...address, store: from, head, keys, replacements, indexes: known });
    const bytes = await view.read(0, 0, view.disk(0).sizeBytes);
    view.close();
    return { sizeBytes: bytes.length, contentSha256: createHash('sha256').update(bytes).digest('hex') };
  };

  it('holds what it held, point by point, from its layers', async () => {
    expect(old.points.length).toBeGreaterThan(3);
    for (const { cycle, ...content } of old.points) expect(await read(cycle)).toEqual(content);
  });

  it.each(['inline', 'withPart'] as const)('is read through its indexes: %s', async (kind) => {
    const { cycle, ...content } = old.points.find((point) => point.cycle === old.head)!;
    const indexes = old.indexes[kind];
    expect(indexes.some(({ parts }) => parts.length > 0)).toBe(kind === 'withPart');
    const metered = new MeteredObjectStore(store, () => {}, new SystemClock());
    expect(await read(cycle, indexes, metered)).toEqual(content);
    const throughLayers = new MeteredObjectStore(store, () => {}, new SystemClock());
    await read(cycle, [], throughLayers);
    // Or the layers would have been read in their place.
    expect(metered.totals().get.calls).toBeLessThan(throughLayers.totals().get.calls);
  });
});
