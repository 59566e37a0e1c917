import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type ChainLedger, collect, type Installation, maintainChain, stampStore, type Upkeep } from '#libs/chain';
import { CodedError, PlatformError } from '#libs/kernel';
import { FaultyObjectStore, MemoryObjectStore, MeteredObjectStore, type ObjectStore } from '#libs/object-store';
import { OpenGate, PostgresChainLedger, PostgresReplicaCatalogue } from '#libs/replication';
import { count } from '../support/counts.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { MaintainedChain } from '../support/maintained-chain.js';

/*
 * Compaction and collection whose n-th call fails, of the store or of PostgreSQL: before it took place, or after with the answer lost. Whatever it was, no kept point
 * is hurt, the next runs finish, and nothing dead stays. In the long run n grows until no call fails any more.
 */

const BLOCK_BYTES = 65_536;
const GRACE_MS = 86_400_000;
const SWEEP = { graceMs: GRACE_MS, windowMs: 1, bytesShareMax: 1, freeBytes: 2 ** 40, objectsMax: 100_000 };
/** In the short run a few calls fail, spread over all of them. */
const FAILURES = count(2, Number.POSITIVE_INFINITY);

let database: TestDatabase;
let installation: Installation;
beforeAll(async () => {
  database = await createTestDatabase();
  [installation] = (await database.asSuperuser<Installation>(`select id, incarnation from installation`)) as [Installation];
});
afterAll(() => database?.drop());

/** Segments that are dead, some that partly live, and many small ones. */
async function worn(): Promise<MaintainedChain> {
  const chain = new MaintainedChain({
    store: new MemoryObjectStore(),
    catalogue: new PostgresReplicaCatalogue(database.unitOfWork, new OpenGate(), 3_600_000),
    ledger: new PostgresChainLedger(database.unitOfWork),
    blocks: 8,
  });
  const { tenantId } = chain.address;
  await database.asSuperuser(`insert into tenant (id, slug, name) values ($1, $2, 'Contoso')`, [tenantId, `t-${tenantId.slice(-12)}`]);
  await stampStore(chain.store, installation);
  await chain.create();
  chain.write(0, 8 * BLOCK_BYTES, 3);
  await chain.commit();
  for (let round = 1; round <= 5; round += 1) {
    chain.write((round % 3) * 2 * BLOCK_BYTES, BLOCK_BYTES, round);
    chain.write(7 * BLOCK_BYTES, 5000, round);
    await chain.commit();
  }
  for (const { point } of [...chain.kept.values()].slice(0, 4))
    await chain.deletePoint(point.id, () =>
      database.asSuperuser(`delete from recovery_point where id = $1`, [point.id]).then(() => undefined),
    );
  return chain;
}

async function passGrace({ address: { chainId } }: MaintainedChain): Promise<void> {
  for (const [table, columns] of [
    ['chain_segment', ['doomed_at', 'condemned_at']],
    ['chain_index', ['doomed_at']],
    ['chain_stray', ['held_until', 'sighted_at', 'condemned_at', 'deleted_at']],
  ] as const) {
    const aged = columns.map((column) => `${column} = ${column} - interval '1 day'`).join(', ');
    await database.asSuperuser(`update ${table} set ${aged} where chain_id = $1`, [chainId]);
  }
}

async function upkeepOnce(chain: MaintainedChain, upkeep: Upkeep): Promise<void> {
  await maintainChain(upkeep);
  const { ledger, store, address, signal } = upkeep;
  for (let round = 0; round < 2; round += 1) {
    await collect({ ledger, store, address, signal, installation, limits: SWEEP });
    await passGrace(chain);
  }
}

async function expectRecovery(chain: MaintainedChain, what: string): Promise<void> {
  expect(await chain.wrongPoints(), what).toEqual([]);
  for (let round = 0; round < 3; round += 1) await upkeepOnce(chain, chain.upkeep());
  expect(await chain.wrongPoints(), what).toEqual([]);
  const { segments } = await chain.ledger.read(chain.address);
  expect((await chain.objects('s/')).count, what).toBe(segments.length);
}

type Fault = 'unavailable' | 'answer-lost';

/** A ledger whose n-th call fails as a lost database does. Counts them. */
function failingLedger(inner: ChainLedger, failAt: number, fault: Fault): { readonly ledger: ChainLedger; calls(): number } {
  const lost = (): CodedError => new CodedError('database.unavailable', 'unavailable', 'scripted fault');
  let calls = 0;
  const ledger = new Proxy(inner, {
    get(target, name) {
      const method: unknown = Reflect.get(target, name, target);
      if (typeof method !== 'function') return method;
      return async (...words: unknown[]): Promise<unknown> => {
        calls += 1;
        const isFailing = calls === failAt;
        if (isFailing && fault === 'unavailable') throw lost();
        const answer: unknown = await Reflect.apply(method, target, words);
        if (isFailing) throw lost();
        return answer;
      };
    },
  });
  return { ledger, calls: () => calls };
}

interface Place {
  /** What of a run is replaced so that its n-th call fails; tells the calls that were made. */
  failing(
    chain: MaintainedChain,
    call: number,
    fault: Fault,
  ): { readonly parts: { ledger?: ChainLedger; store?: ObjectStore }; calls(): number };
}

const STORE: Place = {
  failing(chain, call, fault) {
    let calls = 0;
    const faulty = new FaultyObjectStore(chain.store, [{ call, fault }]);
    return { parts: { store: new MeteredObjectStore(faulty, () => void (calls += 1), chain.clock) }, calls: () => calls };
  },
};
const LEDGER: Place = {
  failing(chain, call, fault) {
    const { ledger, calls } = failingLedger(chain.ledger, call, fault);
    return { parts: { ledger }, calls };
  },
};

describe('upkeep on PostgreSQL', () => {
  it.each([
    ['the store', 'unavailable', STORE],
    ['the store', 'answer-lost', STORE],
    ['the database', 'unavailable', LEDGER],
    ['the database', 'answer-lost', LEDGER],
  ] as const)('loses nothing and finishes when a call of %s ends with %s', { timeout: 3_600_000 }, async (_, fault, place) => {
    const whole = await worn();
    const counting = place.failing(whole, 0, fault);
    await upkeepOnce(whole, whole.upkeep(counting.parts));
    const stride = Math.max(1, Math.floor(counting.calls() / FAILURES));
    expect(counting.calls()).toBeGreaterThan(20);
    let failed = 0;
    for (let call = 1 + (stride >> 1); ; call += stride) {
      const chain = await worn();
      const failing = place.failing(chain, call, fault);
      await upkeepOnce(chain, chain.upkeep(failing.parts)).catch((error: unknown) => {
        expect(error, `call ${call}`).toBeInstanceOf(PlatformError);
        failed += 1;
      });
      await expectRecovery(chain, `${fault} of call ${call}`);
      if (failing.calls() < call) break;
    }
    expect(failed).toBeGreaterThan(0);
  });
});
