import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ProviderIdentity } from '#libs/agents';
import { newId, type AgentId } from '#libs/kernel';
import { generateSigningKey } from '#libs/pki';
import { AuditLog } from '#libs/tenancy';
import { count } from '../support/counts.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { ReceiverProcess } from '../support/receiver-process.js';
import { startTestSite, type Person, type TestPeer, type TestSite, type TestTenant } from '../support/receiver.js';

/** Of one peer: what is told one by one, and what the turn of a minute adds to it while the test runs. */
const BURST = 30;
const EVENTS_MAX = BURST + 4;

interface Refused {
  readonly actorId: string | null;
  readonly details: { readonly attempts: number; readonly code?: string; readonly codes?: string[] };
}

let database: TestDatabase;
let site: TestSite;
let receiver: ReceiverProcess;
let contoso: TestTenant;
let admin: Person;

beforeAll(async () => {
  database = await createTestDatabase();
  site = await startTestSite(database);
  contoso = await site.api.tenant('contoso');
  admin = await contoso.person('admin');
  receiver = await ReceiverProcess.prepare(site, database);
});
afterAll(async () => {
  await receiver?.remove();
  await site?.close();
  await database?.drop();
});

async function refusalsOf(actorId: string | null): Promise<Refused[]> {
  const { body } = await site.api.request().get('/api/v1/audit-events?action=peer.refused&limit=500').set(admin.headers).expect(200);
  return (body.items as Refused[]).filter((event) => event.actorId === actorId);
}

const attemptsIn = (events: readonly Refused[]): number => events.reduce((sum, { details }) => sum + details.attempts, 0);

/** Certificates that the tenant's authority really signs, for agents that nobody enrolled. */
async function unknownAgent(like: TestPeer): Promise<TestPeer> {
  const provider = site.api.app.nest.get(ProviderIdentity, { strict: false });
  const key = await generateSigningKey();
  const ref = { role: 'agent', tenantId: contoso.id, id: newId<AgentId>() } as const;
  const { chainPem } = await database.unitOfWork.run(contoso.id, (tx) => provider.issue(tx, ref, key.publicKeySpki, 'hv9.contoso.test'));
  return like.twin(chainPem, key.privateKeyPem);
}

describe('a flood of refused attempts', () => {
  it('cannot fill the audit log, and each attempt is accounted for once the receiver has stopped', async () => {
    const attempts = count(600, 20_000);
    await receiver.start();
    const agent = (await site.enrol(admin, { fqdn: 'hv1.contoso.test', tag: 'gold' })).at(receiver.url);
    const done = { outcome: 'succeeded', code: null, message: null };
    const startedMs = performance.now();
    for (let n = 0; n < attempts; n += 10) {
      const answers = await Promise.all(
        Array.from({ length: 10 }, (_, index) =>
          index === 0 ? agent.get(`/replication/v1/cycles/${newId()}`) : agent.post(`/commands/v1/${newId()}/result`, done),
        ),
      );
      expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 404));
    }
    const strangers = Array.from({ length: 40 }, () => unknownAgent(agent));
    for (const stranger of strangers) expect((await (await stranger).get('/identity/v1/self')).code).toBe('identity.unknown');
    await receiver.stop();

    const minutes = Math.ceil((performance.now() - startedMs) / 60_000);
    const told = await refusalsOf(agent.id);
    expect(attemptsIn(told)).toBe(attempts);
    expect(told.length).toBeLessThanOrEqual(EVENTS_MAX + 2 * minutes);
    expect(told.filter(({ details }) => details.attempts === 1).length).toBeGreaterThanOrEqual(BURST);
    expect(told[0]!.details.codes!.toSorted()).toEqual(['command.not-found', 'cycle.not-found']);

    const events = await site.api.request().get('/api/v1/audit-events?action=peer.refused&limit=500').set(admin.headers).expect(200);
    const unknown = (events.body.items as Refused[]).filter(({ details }) =>
      [details.code, ...(details.codes ?? [])].includes('identity.unknown'),
    );
    expect(attemptsIn(unknown)).toBe(strangers.length);
    expect(unknown.length).toBeLessThanOrEqual(EVENTS_MAX);
    expect(await refusalsOf(null)).not.toEqual([]);
  });

  it('leaves the chain of the audit log whole', async () => {
    const audit = site.api.app.nest.get(AuditLog, { strict: false });
    expect(await database.unitOfWork.run(contoso.id, (tx) => audit.verify(tx, contoso.id))).toMatchObject({ brokenAt: null });
  });
});
