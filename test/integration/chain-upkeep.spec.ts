import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { collect, maintainChain, stampStore, type Installation, type SweepLimits } from '#libs/chain';
import { CodedError, JsonLinesLogger, newId, NoCrashPoints, SilentLogger, SystemClock, type TenantId } from '#libs/kernel';
import { MemoryObjectStore, type ObjectEntry, type ObjectStore, putBytes, WrappedObjectStore } from '#libs/object-store';
import {
  HeldCollections,
  MAINTENANCE_SETTINGS,
  MaintainChains,
  OpenGate,
  PostgresChainLedger,
  PostgresReplicaCatalogue,
} from '#libs/replication';
import { AuditLog, type OperatorActor } from '#libs/tenancy';
import { MaintainedChain, SMALL_UPKEEP, type Kept } from '../support/maintained-chain.js';
import { count } from '../support/counts.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';

const BLOCK_BYTES = 65_536;
const GRACE_MS = 86_400_000;
const SWEEP = { graceMs: GRACE_MS, windowMs: 3_600_000, bytesShareMax: 1, freeBytes: 2 ** 40, objectsMax: 100_000 };
const ROUNDS = count(14, 120);
/** The writer goes on until the others had their turns, however slow the machine, but not for ever: then the test fails. */
const ROUNDS_MAX = 20 * ROUNDS;

let database: TestDatabase;
let installation: Installation;
beforeAll(async () => {
  database = await createTestDatabase({ poolSize: 12 });
  [installation] = (await database.asSuperuser<Installation>(`select id, incarnation from installation`)) as [Installation];
});
afterAll(() => database?.drop());

/** A chain whose rows are in PostgreSQL. */
async function newChain(): Promise<MaintainedChain> {
  const chain = new MaintainedChain({
    store: new MemoryObjectStore(),
    catalogue: new PostgresReplicaCatalogue(database.unitOfWork, new OpenGate(), 3_600_000),
    ledger: new PostgresChainLedger(database.unitOfWork),
    blocks: 8,
  });
  const { tenantId } = chain.address;
  await database.asSuperuser(`insert into tenant (id, slug, name) values ($1, $2, 'Contoso')`, [tenantId, `t-${tenantId.slice(-12)}`]);
  await stampStore(chain.store, installation);
  return chain.create();
}

/** What retention does. */
const remove = ({ point }: Kept) => database.asSuperuser(`delete from recovery_point where id = $1`, [point.id]).then(() => undefined);

/** Everything noted of the chain is a grace older from now on. */
async function passGrace({ address: { chainId } }: MaintainedChain): Promise<void> {
  const aged = (columns: string[]): string => columns.map((column) => `${column} = ${column} - interval '1 day'`).join(', ');
  await database.asSuperuser(
    `update chain_segment set ${aged(['doomed_at', 'condemned_at'])} where chain_id = $1 and doomed_at is not null`,
    [chainId],
  );
  await database.asSuperuser(`update chain_index set ${aged(['doomed_at'])} where chain_id = $1 and doomed_at is not null`, [chainId]);
  await database.asSuperuser(`update chain_lease set ${aged(['resolved_at'])} where chain_id = $1`, [chainId]);
  await database.asSuperuser(`update chain_stray set ${aged(['sighted_at', 'condemned_at', 'deleted_at'])} where chain_id = $1`, [chainId]);
}

describe('two workers at one chain, beside a writer and readers', () => {
  it('change no kept point, break no leased view, and leave nothing dead behind', { timeout: 600_000 }, async () => {
    const chain = await newChain();
    const { store } = chain;
    chain.write(0, 8 * BLOCK_BYTES, 3);
    await chain.commit();
    const writer = { isDone: false };
    const turns = { upkeep: 0, compactions: 0, reads: 0 };
    const hadTheirTurns = (): boolean => turns.compactions > 2 && turns.reads > 8;
    /** So that a writer that is alone on a processor does not run away from those that share the other. */
    const nextTurn = async (): Promise<void> => {
      const before = turns.upkeep;
      await eventually('a worker has its turn', () => turns.upkeep > before, 60_000);
    };

    const writing = async (): Promise<void> => {
      for (let round = 1; round <= ROUNDS || (!hadTheirTurns() && round <= ROUNDS_MAX); round += 1) {
        if (round > ROUNDS) await nextTurn();
        chain.write((round % 7) * BLOCK_BYTES, BLOCK_BYTES + (round % 3) * 5_000, round % 5);
        // What lies about for a grace before its cycle tells of it may be taken for a stray: it is refused, and sent anew.
        await chain.commit().catch((error: unknown) => {
          if (!(error instanceof CodedError) || error.code !== 'cycle.segment-missing') throw error;
        });
        const oldest = [...chain.kept.values()][round % 3];
        if (chain.kept.size > 4 && oldest !== undefined) await chain.deletePoint(oldest.point.id, () => remove(oldest));
      }
      writer.isDone = true;
    };
    const working = async (): Promise<void> => {
      while (!writer.isDone) {
        // Read before it is added to: the other worker counts too.
        const { compactions } = await maintainChain(chain.upkeep());
        turns.compactions += compactions;
        const { ledger, address, signal } = chain.upkeep();
        await collect({ ledger, store, address, signal, installation, limits: SWEEP });
        await passGrace(chain);
        turns.upkeep += 1;
      }
    };
    const reading = async (): Promise<void> => {
      while (!writer.isDone) {
        const kept = [...chain.kept.values()].at(-1)!;
        const lease = await chain.lease(kept.point, null);
        const view = await chain.open(lease);
        for (let at = 0; at < kept.disk.length; at += BLOCK_BYTES) {
          const found = await view.read(0, at, BLOCK_BYTES);
          expect(found.equals(kept.disk.subarray(at, at + BLOCK_BYTES)), `block ${at / BLOCK_BYTES} of an old view`).toBe(true);
          await new Promise((resolve) => setImmediate(resolve));
          turns.reads += 1;
        }
        view.close();
        await chain.ledger.releaseLease(chain.address, lease.id);
      }
    };

    await Promise.all([writing(), working(), working(), reading()]);
    expect(turns.compactions).toBeGreaterThan(2);
    expect(turns.reads).toBeGreaterThan(8);
    expect(await chain.wrongPoints()).toEqual([]);
    await maintainChain(chain.upkeep());
    for (let round = 0; round < 4; round += 1) {
      const { ledger, address, signal } = chain.upkeep();
      await collect({ ledger, store, address, signal, installation, limits: SWEEP });
      await passGrace(chain);
    }
    expect(await chain.wrongPoints()).toEqual([]);
    const { segments } = await chain.ledger.read(chain.address);
    expect((await chain.objects('s/')).count).toBe(segments.length);
  });
});

describe('the worker', () => {
  const newWorker = async (
    chain: MaintainedChain,
    { turnMs = 300_000, store = chain.store, sweep = SWEEP }: { turnMs?: number; store?: ObjectStore; sweep?: SweepLimits } = {},
  ): Promise<MaintainChains> =>
    new MaintainChains(await database.platform(), database.unitOfWork, store, new SystemClock(), new NoCrashPoints(), {
      ...MAINTENANCE_SETTINGS,
      chainsAtOnce: 8,
      busyMs: 0,
      idleMs: 0,
      collectEveryMs: 0,
      turnMs,
      upkeep: SMALL_UPKEEP,
      sweep,
    });
  const newOperators = async (): Promise<OperatorActor[]> => {
    const actors: OperatorActor[] = [];
    for (const name of ['ada', 'grace']) {
      const credential = { kind: 'session', id: newId() } as const;
      const actor: OperatorActor = { kind: 'operator', id: newId(), email: `${name}@provider.example`, name, role: 'security', credential };
      await database.asSuperuser(`insert into operator (id, email, name, role, password_hash) values ($1, $2, $3, 'security', 'none')`, [
        actor.id,
        actor.email,
        name,
      ]);
      actors.push(actor);
    }
    return actors;
  };
  const upkeepOf = async ({ address }: MaintainedChain): Promise<Record<string, unknown>> => {
    const rows = await database.asSuperuser<Record<string, unknown>>(`select * from chain_upkeep where chain_id = $1`, [address.chainId]);
    return rows[0] ?? {};
  };
  const logger = new SilentLogger();

  it('finds chains that are due, marks the store once, and notes what came of it', async () => {
    const chain = await newChain();
    for (let round = 1; round <= 6; round += 1) {
      chain.write(0, 6 * BLOCK_BYTES, round);
      await chain.commit();
    }
    for (const kept of [...chain.kept.values()].slice(0, 5)) await chain.deletePoint(kept.point.id, () => remove(kept));
    const worker = await newWorker(chain);
    await worker.run({ logger });
    await worker.idle();
    expect(await upkeepOf(chain)).toMatchObject({
      worker: null,
      failure_code: null,
      maintained_at: expect.any(Date),
      collected_at: expect.any(Date),
    });
    const before = await chain.objects('s/');
    await passGrace(chain);
    await worker.run({ logger });
    await worker.idle();
    expect((await chain.objects('s/')).count).toBeLessThan(before.count / 2);
    expect(await chain.wrongPoints()).toEqual([]);
    await worker.beforeApplicationShutdown();
  });

  it('leaves a chain alone while another worker is at it, and takes it over from one that is gone', async () => {
    const chain = await newChain();
    await chain.commit();
    const { tenantId, chainId } = chain.address;
    await database.asSuperuser(
      `insert into chain_upkeep (tenant_id, chain_id, worker, worker_until) values ($1, $2, 'another', now() + interval '1 minute')`,
      [tenantId satisfies TenantId, chainId],
    );
    const worker = await newWorker(chain);
    await worker.maintain(chain.address, installation, logger);
    expect(await upkeepOf(chain)).toMatchObject({ worker: 'another', maintained_at: null });
    await database.asSuperuser(`update chain_upkeep set worker_until = now() - interval '1 second' where chain_id = $1`, [chainId]);
    await worker.maintain(chain.address, installation, logger);
    expect(await upkeepOf(chain)).toMatchObject({ worker: null, maintained_at: expect.any(Date) });
  });

  it('holds what is too much, shows it to the provider, and deletes it once two operators have approved that very sweep', async () => {
    const chain = await newChain();
    for (let round = 1; round <= 4; round += 1) {
      chain.write(0, 8 * BLOCK_BYTES, round);
      await chain.commit();
    }
    for (const kept of [...chain.kept.values()].slice(0, 3)) await chain.deletePoint(kept.point.id, () => remove(kept));
    const worker = await newWorker(chain, { sweep: { ...SWEEP, bytesShareMax: 0.05, freeBytes: 0 } });
    await worker.maintain(chain.address, installation, logger);
    await passGrace(chain);
    const before = await chain.objects('s/');
    await worker.maintain(chain.address, installation, logger);
    expect(await upkeepOf(chain)).toMatchObject({ failure_code: 'collection.over-limit' });
    const held = new HeldCollections(await database.platform('holdfast_operator'), new AuditLog());
    const found = (await held.list(10)).find(({ chainId }) => chainId === chain.address.chainId)!;
    expect(found).toMatchObject({ state: 'awaiting-approval', tenantName: 'Contoso', firstApproval: null });
    expect(found.objectCount).toBeGreaterThan(before.count / 2);
    const [ada, grace] = await newOperators();
    expect(await held.approve(ada!, found.digest)).toMatchObject({ state: 'awaiting-second-approval', firstApproval: { by: ada!.email } });
    await expect(held.approve(ada!, found.digest)).rejects.toMatchObject({ code: 'sweep.four-eyes' });
    await expect(held.approve(grace!, 'ab'.repeat(32))).rejects.toMatchObject({ code: 'sweep.not-found' });
    await worker.maintain(chain.address, installation, logger);
    expect(await chain.objects('s/')).toEqual(before);
    expect(await held.approve(grace!, found.digest)).toMatchObject({ state: 'approved', secondApproval: { by: grace!.email } });
    // Nothing but the approval brings the chain to its turn.
    await worker.run({ logger });
    await worker.idle();
    expect(await upkeepOf(chain)).toMatchObject({ failure_code: null });
    expect((await chain.objects('s/')).count).toBeLessThan(before.count / 2);
    expect((await held.list(10)).filter(({ chainId }) => chainId === chain.address.chainId)).toEqual([]);
    expect(await chain.wrongPoints()).toEqual([]);
    const noted = await database.asSuperuser<{ action: string }>(
      `select action from audit_event where details->>'sweep' = $1 order by seq`,
      [found.digest],
    );
    expect(noted.map(({ action }) => action)).toEqual(['collection.approved-first', 'collection.approved']);
  });

  it('gives up in the middle when it lost its turn', async () => {
    const chain = await newChain();
    chain.write(0, 8 * BLOCK_BYTES, 3);
    await chain.commit();
    const { chainId } = chain.address;
    class Stuck extends WrappedObjectStore {
      override async *list(prefix: string): AsyncIterable<ObjectEntry> {
        // The other one is at it already when this one's listing goes on.
        await database.asSuperuser(
          `update chain_upkeep set worker = 'another', worker_until = now() + interval '1 hour' where chain_id = $1`,
          [chainId],
        );
        for (const deadline = Date.now() + 30_000; Date.now() < deadline;) {
          yield* super.list(prefix);
          await new Promise((resolve) => setTimeout(resolve, 5));
        }
      }
    }
    const worker = await newWorker(chain, { turnMs: 60, store: new Stuck(chain.store) });
    const lines: string[] = [];
    await worker.maintain(chain.address, installation, new JsonLinesLogger({}, (line) => void lines.push(line)));
    expect(lines.join('')).toContain('maintenance.turn-lost');
    expect(await upkeepOf(chain)).toMatchObject({ worker: 'another', collected_at: null });
  });

  it('keeps for the operator why a chain could not be looked after', async () => {
    const chain = await newChain();
    await chain.commit();
    await putBytes(chain.store, `${chain.names.prefix}s/unheard-of`, Buffer.from('x'));
    const worker = await newWorker(chain);
    await worker.maintain(chain.address, installation, logger);
    expect(await upkeepOf(chain)).toMatchObject({ failure_code: 'collection.unknown-object', worker: null });
  });
});
