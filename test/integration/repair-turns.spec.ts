import { afterAll, beforeAll, expect, it } from 'vitest';
import { Broker } from '#libs/cluster';
import { newId, NoCrashPoints, SilentLogger, SystemClock, type TenantId } from '#libs/kernel';
import { MemoryObjectStore, WrappedObjectStore, type ByteRange } from '#libs/object-store';
import type { KeyProvider } from '#libs/pki';
import type { ProviderIdentity } from '#libs/agents';
import type { Outbox, Sagas } from '#libs/platform';
import { GrantKeys, ReleaseKeys, RepairChains } from '#libs/replication';
import { type Actor, AuditLog } from '#libs/tenancy';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { seedProtectedVm } from '../support/seed.js';

/* Whose repair the worker takes on next: one that waits for its tenant's keys keeps nobody else from theirs, and costs little. */

const WAITING = 9;
const [waiting, other] = [newId<TenantId>(), newId<TenantId>()];
const OTHERS_SEGMENT = 'f'.repeat(64);
const context = { logger: new SilentLogger(), signal: new AbortController().signal };

/** Empty, and it tells how often something was asked of it. */
class AskedStore extends WrappedObjectStore {
  asked = 0;

  override get(key: string, range?: ByteRange, signal?: AbortSignal): Promise<Buffer> {
    this.asked += 1;
    return super.get(key, range, signal);
  }
}

let database: TestDatabase;
let job: RepairChains;
const store = new AskedStore(new MemoryObjectStore());

beforeAll(async () => {
  database = await createTestDatabase();
  for (const tenantId of [waiting, other])
    await database.asSuperuser(`insert into tenant (id, slug, name) values ($1, $2, 'Contoso')`, [tenantId, `t-${tenantId.slice(-12)}`]);
  const { chainId, agentId } = await seedProtectedVm(database, waiting);
  const recipient = 'a'.repeat(64);
  await database.asSuperuser(
    `insert into tenant_key (id, tenant_id, public_key, public_key_sha256, reference, holder) values ($1, $2, '', $3, null, 'tenant')`,
    [newId(), waiting, recipient],
  );
  await database.asSuperuser(
    `insert into chain_key (tenant_id, chain_id, kind, generation, recipient, writer_id, created_at)
     values ($1, $2, 'data', 1, $3, $4, now() - interval '1 day')`,
    [waiting, chainId, recipient, agentId],
  );
  for (let index = 0; index < WAITING; index += 1) await addRepair(waiting, chainId, index.toString(16).repeat(64), 'WaitingForKeys', true);
  // Nothing stands on it any more: one turn ends it.
  await addRepair(other, (await seedProtectedVm(database, other)).chainId, OTHERS_SEGMENT, 'Queued', false);
  const platform = await database.platform();
  const { unitOfWork } = database;
  // The provider holds no key here.
  const grantKeys = new GrantKeys(unitOfWork, platform, store, {} as KeyProvider, new AuditLog());
  job = new RepairChains(platform, unitOfWork, store, new SystemClock(), new NoCrashPoints(), new Broker(platform), grantKeys);
});
afterAll(() => database?.drop());

async function addRepair(tenantId: TenantId, chainId: string, segment: string, state: string, isStanding: boolean): Promise<void> {
  if (isStanding)
    await database.asSuperuser(
      `insert into chain_segment (tenant_id, chain_id, role, sha256, size_bytes, footer_bytes, footer_sha256, record_count, plain_bytes,
                                  first_disk, first_block, last_disk, last_block)
       values ($1, $2, 'listed', $3, 1000, 100, $3, 1, 65536, 0, 0, 0, 0)`,
      [tenantId, chainId, segment],
    );
  await database.asSuperuser(
    `insert into chain_repair (id, tenant_id, chain_id, segment, state, changed_at)
     values ($1, $2, $3, $4, $5, now() - interval '1 hour' * (case when $5 = 'Queued' then 0 else 1 end))`,
    [newId(), tenantId, chainId, segment, state],
  );
}

interface Turns {
  readonly state: string;
  readonly idle_turns: number;
  readonly due_at: Date;
}
const repairs = (tenantId: TenantId) =>
  database.asSuperuser<Turns>(`select state, idle_turns, due_at from chain_repair where tenant_id = $1 order by id`, [tenantId]);

/** Those that had a turn have the next one only then, as far as the test is concerned. */
const putOff = () => database.asSuperuser(`update chain_repair set due_at = now() + interval '1 hour' where idle_turns > 0`);
const allDue = () => database.asSuperuser(`update chain_repair set due_at = now() where ended_at is null`);
const nowMs = async () => (await database.asSuperuser<{ now: Date }>(`select now() as now`))[0]!.now.getTime();

it("takes one of each tenant first, and does not begin again at once where nothing but others' waiting is left", async () => {
  const startedMs = await nowMs();
  expect(await job.run(context)).toBe(true);
  expect(await repairs(other)).toMatchObject([{ state: 'Completed' }]);
  const taken = (await repairs(waiting)).filter(({ idle_turns: turns }) => turns === 1);
  expect(taken).toHaveLength(7);
  for (const { due_at: dueAt } of taken) expect(dueAt.getTime()).toBeGreaterThanOrEqual(startedMs + 500);
  await putOff();
  expect(await job.run(context)).toBe(false);
  await putOff();
  expect(await job.run(context)).toBe(false);
  expect((await repairs(waiting)).map(({ state, idle_turns: turns }) => `${state} ${turns}`)).toEqual(
    Array.from({ length: WAITING }, () => 'WaitingForKeys 1'),
  );
});

it('asks less and less often, but within minutes, and reads nothing of the store meanwhile', async () => {
  for (let turn = 2; turn <= 9; turn += 1) {
    const startedMs = await nowMs();
    await allDue();
    while ((await repairs(waiting)).some(({ idle_turns: turns }) => turns < turn)) expect(await job.run(context)).toBe(false);
    const endedMs = await nowMs();
    for (const { idle_turns: turns, due_at: dueAt } of await repairs(waiting)) {
      expect(dueAt.getTime()).toBeGreaterThanOrEqual(startedMs + Math.min(500 * 2 ** (turns - 1), 120_000));
      expect(dueAt.getTime()).toBeLessThanOrEqual(endedMs + 120_000);
    }
  }
  expect(store.asked).toBe(0);
  const requests = await database.asSuperuser<{ kind: string }>(`select kind from key_request where tenant_id = $1`, [waiting]);
  expect(requests.map(({ kind }) => kind)).toEqual(Array.from({ length: WAITING }, () => 'repair'));
});

it('goes on at once when its tenant releases the keys', async () => {
  await putOff();
  const [{ id } = { id: '' }] = await database.asSuperuser<{ id: string }>(`select id from key_request where tenant_id = $1`, [waiting]);
  const platform = await database.platform();
  const { unitOfWork } = database;
  const audit = new AuditLog();
  const release = new ReleaseKeys(unitOfWork, platform, store, {} as ProviderIdentity, {} as Sagas, {} as Outbox, audit);
  await release.release(waiting, { kind: 'user', id: newId(), email: 'admin@contoso.example' } as Actor, id, { grants: [] });
  const due = await database.asSuperuser<{ id: string }>(`select id from chain_repair where due_at <= now() and ended_at is null`);
  expect(due).toEqual([{ id }]);
});
