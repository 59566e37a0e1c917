import { createPrivateKey } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { BLOCK_BYTES, collect, type Installation, maintainChain, ObjectNames, rsaUnwrapper, stampStore, UPKEEP_OPTIONS } from '#libs/chain';
import type { CommandPayload } from '#libs/contracts/commands';
import type { ExportView } from '#libs/contracts/http';
import { asId, type ChainId, newId, NoCrashPoints, SilentLogger, SystemClock, type TenantId } from '#libs/kernel';
import { NbdClient } from '#libs/nbd';
import { BlockCache, DiskServer, exportNameOf, PointReader, resolveReading } from '#libs/replica-node';
import { PostgresChainLedger } from '#libs/replication';
import { count } from '../support/counts.js';
import { FailoverWorld } from '../support/failover-world.js';
import { contentOf, expectOk, type ProtectedVm } from '../support/protected-vm.js';
import { identityKeys } from '../support/receiver.js';
import { TestReplicaNode } from '../support/test-replica-node.js';

/* A node's reader over a real receiver, while compaction and collection take away what it was told of. */

const GRACE_MS = 86_400_000;
const SWEEP = { graceMs: GRACE_MS, windowMs: 1, bytesShareMax: 1, freeBytes: 2 ** 40, objectsMax: 100_000 };
/** Whatever there is of a few cycles is worth putting together. */
const UPKEEP = { ...UPKEEP_OPTIONS, targetBytes: 2 ** 20, smallBytes: 2 ** 20, smallCount: 3 };
const BLOCKS = 12;
const ROUNDS = count(2, 30);

let world: FailoverWorld;
let node: TestReplicaNode;
let installation: Installation;
beforeAll(async () => {
  world = await FailoverWorld.start();
  node = await TestReplicaNode.enrol(world.site, 'rn1.provider.example');
  [installation] = (await world.database.asSuperuser<Installation>(`select id, incarnation from installation`)) as [Installation];
});
afterAll(() => world?.stop());
beforeEach(() => node.report());
const endings: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const end of endings.splice(0).reverse()) await end();
});

interface Scene {
  readonly vm: ProtectedVm;
  readonly command: CommandPayload<'point.export'>;
  /** What the point's blocks hold. */
  readonly blocks: readonly (Buffer | null)[];
  readonly names: ObjectNames;
}

/** A VM of some cycles, of which a replica node was told to read the newest point. */
async function scene(cycles: number): Promise<Scene> {
  const vm = await world.protect();
  const blocks: (Buffer | null)[] = Array.from({ length: BLOCKS }, () => null);
  const write = async (at: number): Promise<void> => {
    const { cycle } = await vm.cycle(at);
    for (let block = at; block < at + 3; block += 1) blocks[block] = contentOf(cycle.cycle, block);
  };
  for (let round = 0; round < cycles; round += 1) await write((round * 2) % (BLOCKS - 3));
  const { body } = await world.get(`/api/v1/relationships/${vm.id}/recovery-points`);
  const [{ id: pointId } = { id: '' }] = body.items as { id: string }[];
  const wish = await world.post(`/api/v1/recovery-points/${pointId}/exports`, { diskOrdinal: 0, format: 'raw' });
  expect(wish.status).toBe(202);
  const { payload: command } = await node.command('point.export', (wish.body as ExportView).id);
  const names = new ObjectNames(asId<TenantId>(command.source.tenantId), asId<ChainId>(command.source.chainId));
  await stampStore(world.store, installation);
  return { vm, command, blocks: blocks.slice(), names };
}

const address = ({ command: { source } }: Scene) => ({ tenantId: asId<TenantId>(source.tenantId), chainId: asId<ChainId>(source.chainId) });

const upkeepOf = (of: Scene) => ({
  ledger: new PostgresChainLedger(world.database.unitOfWork),
  store: world.store,
  address: address(of),
  options: UPKEEP,
  crashPoints: new NoCrashPoints(),
  signal: new AbortController().signal,
});

/** Moves what is kept, and takes away what that leaves behind, as if a grace had gone by and the reader had been told of it since. */
async function upheave(of: Scene): Promise<number> {
  const { compactions } = await maintainChain(upkeepOf(of));
  const { chainId } = address(of);
  for (const table of ['chain_segment', 'chain_index'])
    await world.database.asSuperuser(`update ${table} set doomed_at = doomed_at - interval '1 day' where chain_id = $1`, [chainId]);
  await world.database.asSuperuser(`update chain_lease set resolved_at = now() + interval '1 hour' where chain_id = $1`, [chainId]);
  const { ledger, store, signal } = upkeepOf(of);
  await collect({ ledger, store, address: address(of), installation, limits: SWEEP, signal });
  return compactions;
}

/** The point's disk as a guest sees it, and how often its reader asked anew. */
async function serve(of: Scene): Promise<{ readonly disk: NbdClient; readonly asked: { readings: number; pages: number } }> {
  const { source, exportId: id } = of.command;
  const { unwrapping } = await identityKeys();
  const asked = { readings: 0, pages: 0 };
  const receiver: typeof node.readings = {
    reading: (...words) => ((asked.readings += 1), node.readings.reading(...words)),
    replacements: (...words) => ((asked.pages += 1), node.readings.replacements(...words)),
  };
  const services = { clock: new SystemClock(), logger: new SilentLogger() };
  const point = await PointReader.open(
    {
      source,
      store: world.store,
      unwrap: rsaUnwrapper(createPrivateKey(unwrapping.privateKeyPem.reveal())),
      resolve: (lost) => resolveReading({ id, source }, { receiver, clock: services.clock }, lost),
    },
    services,
  );
  const directory = await mkdtemp(join(tmpdir(), 'readers-'));
  // A cache that holds nothing worth the name: every read goes to the store.
  const server = await DiskServer.listen({
    point,
    socketPath: join(directory, 'nbd.sock'),
    cache: new BlockCache(BLOCK_BYTES),
    ...services,
  });
  const disk = await NbdClient.connect({ socketPath: join(directory, 'nbd.sock'), exportName: exportNameOf(0) });
  endings.push(async () => {
    await disk.close();
    await server.close();
    point.close();
    await rm(directory, { recursive: true });
  });
  return { disk, asked };
}

async function expectWhole(disk: NbdClient, { blocks }: Scene): Promise<void> {
  for (const [block, expected] of blocks.entries()) {
    const found = await disk.read(block * BLOCK_BYTES, BLOCK_BYTES);
    expect(found.equals(expected ?? Buffer.alloc(BLOCK_BYTES)), `block ${block}`).toBe(true);
  }
}

/** Segments that compaction dissolved long ago, of layers on the path: rows alone, as many as a VM of a few days has. */
async function addDissolved(of: Scene, dissolved: number): Promise<void> {
  const { chainId, tenantId } = address(of);
  await world.database.asSuperuser(
    `with stood as (select * from chain_segment where chain_id = $1 and role = 'compacted' and doomed_at is null limit 1),
          listing as (select id from replication_cycle where chain_id = $1 and state = 'committed' order by sequence limit 1),
          made as (
            insert into chain_segment (tenant_id, chain_id, sha256, size_bytes, footer_bytes, footer_sha256, record_count, plain_bytes,
                                       first_disk, first_block, last_disk, last_block, role, doomed_at, condemned_at, replaced_by)
            select tenant_id, chain_id, encode(sha256(('dissolved ' || n)::bytea), 'hex'), size_bytes, footer_bytes, footer_sha256, record_count,
                   plain_bytes, first_disk, first_block, last_disk, last_block, 'listed', now(), now(), array[sha256]
              from stood, generate_series(1, $3) n
            returning sha256)
     insert into cycle_segment (tenant_id, cycle_id, chain_id, sha256) select $2, listing.id, $1, made.sha256 from listing, made`,
    [chainId, tenantId, dissolved],
  );
  // The database does so by itself, a while later.
  await world.database.asSuperuser(`analyze chain_segment, cycle_segment, replication_cycle`);
}

describe('a disk that a replica node serves', () => {
  it('is read on without a fault while compaction and collection take away what its reader was told of', { timeout: 120_000 }, async () => {
    const of = await scene(9);
    const { disk, asked } = await serve(of);
    const turns = { passes: 0, compactions: 0, isOver: false };
    const reading = async (): Promise<void> => {
      while (!turns.isOver) {
        await expectWhole(disk, of);
        turns.passes += 1;
        // Lets the others have the processor.
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    };
    const upheaving = async (): Promise<void> => {
      try {
        for (let round = 0; round < ROUNDS; round += 1) {
          for (let at = 0; at < 6; at += 1) await of.vm.cycle((round + at * 2) % (BLOCKS - 3));
          turns.compactions += await upheave(of);
          // The reader goes through all of it before the next: two upheavals within one read are no lease's promise.
          const { passes } = turns;
          for (const deadline = Date.now() + 30_000; turns.passes < passes + 2 && Date.now() < deadline;)
            await new Promise((resolve) => setTimeout(resolve, 5));
        }
      } finally {
        turns.isOver = true;
      }
    };
    await Promise.all([reading(), upheaving()]);
    expect(turns.compactions).toBeGreaterThan(1);
    expect(asked.readings).toBeGreaterThan(0);
    // Once for each upheaval at most, and not for each read.
    expect(asked.readings).toBeLessThanOrEqual(2 * ROUNDS);
  });

  it('is read on when an index is deleted under it, though more was dissolved below than a map carries', { timeout: 120_000 }, async () => {
    const of = await scene(9);
    await upheave(of);
    await addDissolved(of, 9_000);
    // Opened by a map of now, which tells of nothing below the indexes.
    const { source } = of.command;
    const map = await node.readings.reading({ tenantId: source.tenantId, id: of.command.exportId });
    expect(map.indexes.length).toBeGreaterThan(0);
    expect(map.replacements.length).toBeLessThan(4_096);
    const now = { ...of, command: { ...of.command, source: { ...source, map } } };
    const { disk } = await serve(now);
    expect((await disk.read(0, BLOCK_BYTES)).equals(of.blocks[0] ?? Buffer.alloc(BLOCK_BYTES))).toBe(true);
    const lost: string[] = [];
    for await (const { key } of world.store.list(`${of.names.prefix}x/`)) lost.push(key);
    expect(lost.length).toBeGreaterThan(0);
    for (const key of lost) await world.store.delete(key);
    const again = await serve(now);
    await expectWhole(again.disk, of);
    await expectWhole(disk, of);
    expect(again.asked.readings).toBeGreaterThan(0);
    expect(again.asked.readings).toBeLessThanOrEqual(3);
    expect(again.asked.pages).toBeGreaterThanOrEqual(3);
  });

  it('fails its reads, and no sooner and no oftener than that, when what is gone is nowhere', async () => {
    const of = await scene(4);
    const { disk, asked } = await serve(of);
    for await (const { key } of world.store.list(`${of.names.prefix}s/`)) await world.store.delete(key);
    for (let read = 0; read < 8; read += 1) await expect(disk.read(read * BLOCK_BYTES, 4096)).rejects.toThrow();
    expect(asked.readings).toBeGreaterThan(0);
    expect(asked.readings).toBeLessThanOrEqual(2);
  });
});

describe('what a receiver tells a reader', () => {
  it('is told to the node that was told to read it, while it does', async () => {
    const of = await scene(2);
    const reading = { tenantId: of.command.source.tenantId, id: of.command.exportId };
    const stranger = await TestReplicaNode.enrol(world.site, 'rn2.provider.example');
    await expect(stranger.readings.reading(reading)).rejects.toMatchObject({ code: 'view.not-leased' });
    await expect(stranger.readings.replacements(reading, { ranges: [{ first: 0, last: 9 }], after: null })).rejects.toMatchObject({
      code: 'view.not-leased',
    });
    const other = await world.site.api.tenant('fabrikam');
    await expect(node.readings.reading({ ...reading, tenantId: other.id })).rejects.toMatchObject({ code: 'view.not-leased' });
    expect(await node.readings.reading(reading)).toMatchObject({ layers: expect.any(Array) });
    await world.database.asSuperuser(`delete from chain_lease where id = $1`, [reading.id]);
    await expect(node.readings.reading(reading)).rejects.toMatchObject({ code: 'view.not-leased' });
  });

  it('tells an agent of all that was dissolved below its view, page by page', async () => {
    const of = await scene(9);
    await upheave(of);
    await addDissolved(of, 5_000);
    const path = `/replication/v1/relationships/${of.vm.id}/views/${newId()}`;
    const opened = await expectOk(of.vm.agent.send('PUT', path, JSON.stringify({ pointId: null }), { 'content-type': 'application/json' }));
    const { point } = opened.body as { point: { sequence: number } };
    const segments: string[] = [];
    for (let after: string | null = null, page = 0; page === 0 || after !== null; page += 1) {
      const { body } = await expectOk(of.vm.agent.post(`${path}/replacements`, { ranges: [{ first: 0, last: point.sequence }], after }));
      segments.push(...(body.replacements as { segment: string }[]).map(({ segment }) => segment));
      after = body.more as string | null;
    }
    expect(segments.length).toBeGreaterThan(5_000);
    expect(segments).toEqual([...new Set(segments)].sort());
    const none = await of.vm.agent.post(`${path}/replacements`, { ranges: [{ first: 9_000, last: 9_999 }], after: null });
    expect(none.body).toEqual({ replacements: [], more: null });
  });
});
