import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { CodedError, newId, retry, SystemClock } from '#libs/kernel';
import { ReceiverClient, REQUEST_RETRIES } from '#libs/peer';
import { count } from '../support/counts.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { ProtectedVm } from '../support/protected-vm.js';
import { startTestSite, until, type Answer, type Person, type TestPeer, type TestSite } from '../support/receiver.js';
import { SlowClients } from '../support/slow-clients.js';

/*
 * A receiver with a place for one upload of each tenant, and what those are told who find it taken: by the agent's own client.
 */

let database: TestDatabase;
let site: TestSite;
let admin: Person;
let vm: ProtectedVm;
let hog: TestPeer;
let clients: SlowClients | undefined;

beforeAll(async () => {
  database = await createTestDatabase();
  site = await startTestSite(database, { UPLOADS_MAX: 2, UPLOADS_WAITING_MAX: 4, UPLOAD_WAIT_SECONDS: 1 });
  admin = await (await site.api.tenant('contoso')).person('admin');
  const entry = { allowedPrimaryServer: 'hv1.contoso.example', tag: 'gold' };
  await site.api.request().post('/api/v1/authorization-entries').set(admin.headers).send(entry).expect(201);
  vm = await ProtectedVm.protect({ site, admin, fqdn: 'hv1.contoso.example', tag: 'gold' });
  hog = await site.enrol(admin, { fqdn: 'hv2.contoso.example', tag: 'gold' });
});
afterEach(async () => {
  await clients?.stop();
  clients = undefined;
});
afterAll(async () => {
  await site?.close();
  await database?.drop();
});

/** Takes the one place of contoso. */
async function occupy(): Promise<void> {
  clients = new SlowClients(new URL(site.receiverUrl), [hog]);
  clients.trickle(1);
  await until('the place to be taken', async () => (await report(vm.agent, LARGE_INVENTORY)).code === 'receiver.busy');
}

/** More than is read without asking. */
const LARGE_INVENTORY = { vms: [], padding: 'x'.repeat(100_000) };

function report(peer: TestPeer, body: unknown): Promise<Answer> {
  return peer.send('PUT', '/replication/v1/inventory', JSON.stringify(body), { 'content-type': 'application/json' });
}

function client(): ReceiverClient {
  const { enrolment, chainPem, privateKeyPem } = vm.agent;
  return new ReceiverClient({ urls: [site.receiverUrl], rootsPem: enrolment.providerRoots, chainPem, privateKeyPem }, new SystemClock());
}

/** Waits as long as it is asked to, or a moment: so that a test sees what for. */
class HastyClock extends SystemClock {
  readonly sleptMs: number[] = [];

  override sleep(ms: number, signal?: AbortSignal): Promise<void> {
    this.sleptMs.push(ms);
    return super.sleep(Math.min(ms, 100), signal);
  }
}

describe('an upload that does not get its turn', () => {
  it('is told so with a time to come back, however large it is, and before the rest of it is read', async () => {
    await occupy();
    const agent = client();
    const bytes = Buffer.alloc(8_000_000, 1);
    const path = `/replication/v1/cycles/${newId()}/segments/${'0'.repeat(64)}`;
    for (let turn = 0; turn < count(3, 15); turn += 1) {
      const error = await agent.send({ method: 'PUT', path, bytes, throttles: [] }).catch((refusal: unknown) => refusal);
      expect(error).toBeInstanceOf(CodedError);
      expect(error).toMatchObject({ code: 'receiver.busy', kind: 'unavailable', details: { retryAfterSeconds: 5 } });
    }
    await agent.close();
  });

  it('goes on by itself: the agent waits as long as it was asked to, and sends again', async () => {
    const cycle = await vm.opened();
    const { bytes, sha256 } = vm.segment(cycle, 0);
    await occupy();
    const clock = new HastyClock();
    const agent = client();
    const refused: unknown[] = [];
    const onRetry = (error: unknown): void => {
      refused.push(error);
      void clients!.stop();
    };
    const path = `/replication/v1/cycles/${cycle.id}/segments/${sha256}`;
    await retry({ ...REQUEST_RETRIES, onRetry }, clock, () => agent.send({ method: 'PUT', path, bytes, throttles: [] }));
    expect(refused).toEqual([expect.objectContaining({ code: 'receiver.busy' })]);
    expect(clock.sleptMs).toHaveLength(1);
    expect(clock.sleptMs[0]).toBeGreaterThanOrEqual(5_000);
    await agent.close();
  });

  it('is another body too, read as a whole; a small one passes', async () => {
    await occupy();
    const { status, code, headers } = await report(vm.agent, LARGE_INVENTORY);
    expect({ status, code, retryAfter: headers['retry-after'], type: headers['content-type'] }).toEqual({
      status: 503,
      code: 'receiver.busy',
      retryAfter: '5',
      type: 'application/problem+json; charset=utf-8',
    });
    expect((await report(vm.agent, { vms: [] })).status).toBe(204);
  });

  it("is not another tenant's", async () => {
    await occupy();
    const stranger = await (await site.api.tenant('fabrikam')).person('admin');
    const other = await site.enrol(stranger, { fqdn: 'hv1.fabrikam.example', tag: 'gold' });
    // Past the gate, and refused by the route itself: no authorization entry names this host.
    expect(await report(other, LARGE_INVENTORY)).toMatchObject({ status: 403, code: 'authorization.not-allowed' });
  });
});
