import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { randomBytes, randomInt } from 'node:crypto';
import { Client } from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type BuiltSegment, ObjectNames } from '#libs/chain';
import type { CycleAnswer, WireRelationship } from '#libs/contracts/wire';
import { MINUTE_MS, type TenantId } from '#libs/kernel';
import { type ObjectStore, openObjectStore } from '#libs/object-store';
import { count } from '../support/counts.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import { expectOk, OCTETS, ProtectedVm } from '../support/protected-vm.js';
import { ReceiverProcess } from '../support/receiver-process.js';
import { type Answer, type Person, startTestSite, type TestSite } from '../support/receiver.js';

/*
 * A VM is failed over while its old primary lives on, wherever in a cycle that is: it is told the epoch that holds, what it stored stays
 * an orphan, and the recovery points are those of before. The same when it is the receiver that slept through the failover.
 */

const RACES = count(6, 300);
const PAUSE_MS = count(200, 2 * MINUTE_MS);

let database: TestDatabase;
let site: TestSite;
let store: ObjectStore;
let tenantId: TenantId;
let admin: Person;
let receiver: ReceiverProcess;
let vm: ProtectedVm;
let vms = 0;

beforeAll(async () => {
  database = await createTestDatabase();
  site = await startTestSite(database);
  store = await openObjectStore(site.shared.STORE_URL);
  const tenant = await site.api.tenant('contoso');
  tenantId = tenant.id;
  admin = await tenant.person('admin');
  const entry = { allowedPrimaryServer: '*.contoso.example', tag: 'gold' };
  await site.api.request().post('/api/v1/authorization-entries').set(admin.headers).send(entry).expect(201);
  receiver = await ReceiverProcess.prepare(site, database);
});
afterAll(async () => {
  await receiver?.remove();
  await site?.close();
  await database?.drop();
});
beforeEach(() => protect());

async function protect(): Promise<void> {
  vms += 1;
  vm = await ProtectedVm.protect({ site, admin, fqdn: `hv${vms}.contoso.example`, tag: 'gold' });
  expect((await vm.cycle()).answer.status).toBe(200);
}

const askForFailover = () =>
  site.api.request().post(`/api/v1/relationships/${vm.id}/failovers`).set(admin.headers).send({ type: 'Unplanned' });

async function points(): Promise<{ readonly id: string; readonly sequence: number }[]> {
  const { body } = await site.api.request().get(`/api/v1/relationships/${vm.id}/recovery-points`).set(admin.headers).expect(200);
  return body.items;
}

/** What the store has of the chain and no committed cycle names: segments by their hash, manifests by their cycle. */
async function orphans(): Promise<string[]> {
  const named = await database.asSuperuser<{ name: string }>(
    `select c.sha256 as name from cycle_segment c join replication_cycle r on r.id = c.cycle_id where r.chain_id = $1 and r.state = 'committed'
      union all select cycle from chain_manifest where chain_id = $1`,
    [vm.keys.chainId],
  );
  const known = new Set(named.map(({ name }) => name));
  const { prefix } = new ObjectNames(tenantId, vm.keys.chainId);
  const found: string[] = [];
  for (const kind of ['s', 'm'])
    for await (const { key } of store.list(`${prefix}${kind}/`)) found.push(key.slice(key.search(/[0-9a-f]+$/)));
  return found.filter((name) => !known.has(name));
}

/** A cycle that lacks nothing but its commit. */
interface ReadyCycle {
  readonly cycle: CycleAnswer;
  readonly segment: BuiltSegment;
  readonly manifest: Buffer;
}

async function readyCycle(): Promise<ReadyCycle> {
  const cycle = await vm.opened();
  const { epoch } = await vm.relationship();
  const segment = vm.segment(cycle, 10);
  const { pages, bytes } = vm.manifest(cycle, epoch, [segment]);
  await expectOk(vm.put(cycle, segment.bytes, segment.sha256));
  for (const page of pages) await expectOk(vm.putList(cycle, page));
  return { cycle, segment, manifest: bytes };
}

/** Sends one half, and the other when it is told to. Returns once the receiver writes. */
async function beginUpload(cycle: CycleAnswer, { bytes, sha256 }: BuiltSegment): Promise<{ finish(): Promise<Answer> }> {
  const body = new PassThrough();
  const headers = { ...OCTETS, 'content-length': bytes.length };
  const answer = vm.agent.send('PUT', `/replication/v1/cycles/${cycle.id}/segments/${sha256}`, body, headers);
  body.write(bytes.subarray(0, bytes.length / 2));
  const unfinished = join(fileURLToPath(site.shared.STORE_URL), '.unfinished');
  await eventually('the upload is under way', async () => (await readdir(unfinished)).length > 0);
  return {
    finish() {
      body.end(bytes.subarray(bytes.length / 2));
      return answer;
    },
  };
}

const goneWith = (epoch: WireRelationship['epoch']) => ({
  status: 410,
  code: 'cycle.stale-epoch',
  body: { title: 'Gone', details: { epoch } },
});

const untilWaiting = (transactions: number): Promise<boolean> =>
  eventually(`${transactions} transactions wait for a lock`, async () => {
    const waiting = await database.asSuperuser(
      `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
    );
    return waiting.length === transactions;
  });

type Act = () => Promise<Answer>;
interface Encounter {
  /** What the old primary does once the VM is failed over. */
  readonly acts: readonly Act[];
  readonly orphans: readonly string[];
}

describe('an old primary that lives on when its VM is failed over', () => {
  it.each<[step: string, arrange: () => Promise<Encounter>]>([
    [
      'before it begins a cycle',
      async () => {
        const { epoch, head } = await vm.relationship();
        const key = vm.wrap('data', 2, randomBytes(32));
        return {
          acts: [
            () => vm.agent.send('PUT', `/replication/v1/relationships/${vm.id}/keys/data/2`, key, OCTETS),
            () => vm.open({ epoch, parent: head }),
            () => vm.open(),
          ],
          orphans: [],
        };
      },
    ],
    [
      'after it began one',
      async () => {
        const cycle = await vm.opened();
        const { epoch } = await vm.relationship();
        const segment = vm.segment(cycle, 10);
        const { pages } = vm.manifest(cycle, epoch, [segment]);
        return {
          acts: [
            () => vm.agent.send('PUT', `/replication/v1/cycles/${cycle.id}`, '{}', { 'content-type': 'application/json' }),
            () => vm.put(cycle, segment.bytes, segment.sha256),
            () => vm.putList(cycle, pages[0]!),
            () => vm.commit(cycle, vm.manifest(cycle, epoch, []).bytes),
          ],
          orphans: [],
        };
      },
    ],
    [
      'in the midst of a segment',
      async () => {
        const cycle = await vm.opened();
        const segment = vm.segment(cycle, 10);
        const upload = await beginUpload(cycle, segment);
        return { acts: [() => upload.finish(), () => vm.put(cycle, segment.bytes, segment.sha256)], orphans: [segment.sha256] };
      },
    ],
    [
      'after its uploads and before its commit',
      async () => {
        const { cycle, segment, manifest } = await readyCycle();
        return { acts: [() => vm.commit(cycle, manifest), () => vm.commit(cycle, manifest)], orphans: [segment.sha256] };
      },
    ],
    [
      'after its commit was acknowledged',
      async () => {
        const { epoch } = await vm.relationship();
        const { answer } = await vm.cycle(10);
        return { acts: [() => vm.open({ epoch, parent: answer.body.head })], orphans: [] };
      },
    ],
  ])('%s: is told the epoch that holds, and changes nothing', async (_step, arrange) => {
    const { epoch } = await vm.relationship();
    const { acts, orphans: expected } = await arrange();
    const before = await points();
    await askForFailover().expect(202);
    for (const act of acts) expect(await act()).toMatchObject(goneWith({ ...epoch, counter: epoch.counter + 1 }));
    expect(await points()).toEqual(before);
    expect(await orphans()).toEqual(expected);
    expect(await vm.relationship()).toMatchObject({ mode: 'Replica', head: { sequence: before[0]!.sequence } });
  });

  it('and asks again for an acknowledgement of before: gets the same one', async () => {
    const { cycle, manifest, answer } = await vm.cycle(10);
    await askForFailover().expect(202);
    expect(await vm.commit(cycle, manifest)).toMatchObject({ status: 200, body: answer.body });
    expect(await points()).toHaveLength(2);
  });

  it('in its commit, which waits behind the failover: is told the epoch of after it', async () => {
    const { cycle, segment, manifest } = await readyCycle();
    const { epoch } = await vm.relationship();
    const holder = new Client(database.superuserUrl);
    await holder.connect();
    await holder.query('begin');
    await holder.query('select from replication_relationship where id = $1 for update', [vm.id]);
    const failover = askForFailover().then(({ status }) => status);
    await untilWaiting(1);
    const commit = vm.commit(cycle, manifest);
    await untilWaiting(2);
    await holder.query('commit');
    await holder.end();
    expect(await failover).toBe(202);
    expect(await commit).toMatchObject(goneWith({ ...epoch, counter: epoch.counter + 1 }));
    expect(await points()).toHaveLength(1);
    expect(await orphans()).toContain(segment.sha256);
  });

  it('in the very commit, with two who ask for the failover: one of them wins, and the commit is before it or refused', async () => {
    for (let race = 0; race < RACES; race += 1) {
      await protect();
      const { cycle, segment, manifest } = await readyCycle();
      const { epoch } = await vm.relationship();
      const before = await points();
      const [commit, ...failovers] = await Promise.all([
        sleep(randomInt(0, 60)).then(() => vm.commit(cycle, manifest)),
        sleep(randomInt(0, 60)).then(() => askForFailover()),
        sleep(randomInt(0, 60)).then(() => askForFailover()),
      ]);
      expect(failovers.map(({ status }) => status).toSorted()).toEqual([202, 409]);
      const [won, lost] = failovers.toSorted((a, b) => a.status - b.status);
      expect(lost!.body).toMatchObject({ code: 'failover.exists' });

      const now = { ...epoch, counter: epoch.counter + 1 };
      expect((await vm.relationship()).epoch).toEqual(now);
      const after = await points();
      if (commit.status === 200) {
        expect(after.map(({ id }) => id)).toEqual([commit.body.recoveryPointId, before[0]!.id]);
        expect(await orphans()).toEqual([]);
      } else {
        expect(commit).toMatchObject(goneWith(now));
        expect(after).toEqual(before);
        expect((await orphans())[0]).toBe(segment.sha256);
      }
      expect(won!.body).toMatchObject({ recoveryPointId: after[0]!.id });
      expect(await vm.commit(cycle, manifest)).toMatchObject({ status: commit.status, code: commit.code });
    }
  });
});

describe('a receiver that is paused while the VM is failed over', () => {
  /** As the agent repeats what it got no answer to, or that the receiver cannot say yet. */
  async function insist(act: Act): Promise<Answer> {
    return eventually('an answer for good', async () => {
      const answer = await act();
      return answer.status !== 503 && answer;
    });
  }

  async function sleepThroughFailover(): Promise<void> {
    await receiver.untilPaused();
    await askForFailover().expect(202);
    await sleep(PAUSE_MS);
    receiver.resume();
  }

  it.each([
    ['segment-stored', 410],
    ['manifest-bound', 410],
    ['manifest-stored', 410],
    // It held the locks: the database took them from it together with its connection, and the failover went on.
    ['commit-decided', 503],
  ] as const)('at %s: its cycle is refused', async (point, status) => {
    await receiver.start(point, 'pause');
    const { epoch } = await vm.relationship();
    const { cycle, segment, manifest } = await readyCycle();
    const before = await points();
    const other = vm.segment(cycle, 20);
    vm.agent = vm.agent.at(receiver.url);
    const act: Act = () => (point === 'segment-stored' ? vm.put(cycle, other.bytes, other.sha256) : vm.commit(cycle, manifest));
    const answer = act();
    await sleepThroughFailover();
    expect(await answer).toMatchObject({ status });
    expect(await insist(act)).toMatchObject(goneWith({ ...epoch, counter: epoch.counter + 1 }));
    expect(await points()).toEqual(before);
    expect(await orphans()).toEqual(expect.arrayContaining(point === 'segment-stored' ? [segment.sha256, other.sha256] : [segment.sha256]));
  });

  it('in the midst of a segment: the upload is refused', async () => {
    await receiver.start();
    const { epoch } = await vm.relationship();
    const before = await points();
    const cycle = await vm.opened();
    const segment = vm.segment(cycle, 10);
    vm.agent = vm.agent.at(receiver.url);
    const upload = await beginUpload(cycle, segment);
    await receiver.pause();
    const answer = upload.finish();
    await sleepThroughFailover();
    // After a long pause its sender seems too slow.
    expect([408, 410]).toContain((await answer).status);
    expect(await insist(() => vm.put(cycle, segment.bytes, segment.sha256))).toMatchObject(
      goneWith({ ...epoch, counter: epoch.counter + 1 }),
    );
    expect(await points()).toEqual(before);
  });

  it('between its commit and the answer: the point is of before the failover, and the last', async () => {
    await receiver.start('committed', 'pause');
    const { cycle, manifest } = await readyCycle();
    vm.agent = vm.agent.at(receiver.url);
    const answer = vm.commit(cycle, manifest);
    await sleepThroughFailover();
    const { body } = await expectOk(answer);
    expect((await points())[0]).toMatchObject({ id: body.recoveryPointId });
    expect(await insist(() => vm.open())).toMatchObject({ status: 410 });
    expect(await orphans()).toEqual([]);
  });
});
