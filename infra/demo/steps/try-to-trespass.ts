import { createHash, randomBytes } from 'node:crypto';
import { KIB, newId, SECOND_MS } from '#libs/kernel';
import type { RefusalRow } from '../report.js';
import type { Stage } from '../stage.js';
import { Trespasser, type Answer } from '../trespasser.js';
import type { ProtectedVm } from './protect-vm.js';
import { FABRIKAM_TAG, PRODUCTION_TAG, TEST_TAG, type DemoTenant, type Provider } from './start-platform.js';

/** Hosts whose certificates are valid try what is not theirs to do: to write, read, list and update contoso's replica. */
export async function tryToTrespass(stage: Stage, { contoso, fabrikam }: Provider, replica: ProtectedVm): Promise<void> {
  const { report, narrator } = stage;
  const foreigner = await Trespasser.enrol(stage, { tenant: fabrikam, fqdn: 'hv01.fabrikam.example', tag: FABRIKAM_TAG });
  const otherTag = await Trespasser.enrol(stage, { tenant: contoso, fqdn: 'hv01.test.contoso.example', tag: TEST_TAG });
  const unlisted = await Trespasser.enrol(stage, { tenant: contoso, fqdn: 'hv99.contoso.example', tag: PRODUCTION_TAG });
  const before = await contoso.client.relationships.get(replica.relationshipId);

  await trespassFrom(stage, foreigner, replica, 404);
  await learnNothing(stage, foreigner, replica);
  await readFromPortal(stage, fabrikam, replica);
  await trespassFrom(stage, otherTag, replica, 403);
  await trespassFrom(stage, unlisted, replica, 403);
  const revoked = await useRevoked(stage, contoso);

  narrator.table(
    ['who', 'tried to', 'answer', 'code'],
    report.refusals.map(({ who, attempt, status, answer }) => [who, attempt, status, answer]),
  );
  const after = await contoso.client.relationships.get(replica.relationshipId);
  stage.check(
    'the replica is as it was',
    after.epoch.counter === before.epoch.counter && after.state === before.state && after.recoveryPointCount >= before.recoveryPointCount,
  );
  await areAudited(stage, fabrikam, [foreigner]);
  await areAudited(stage, contoso, [otherTag, unlisted, revoked]);
}

/** Writes, reads and lists; every attempt must be refused with `status`. */
async function trespassFrom(stage: Stage, host: Trespasser, replica: ProtectedVm, status: 403 | 404): Promise<void> {
  const attempts = await attemptsOf(host, replica.relationshipId, replica.cycles.at(-1)!.id);
  for (const [attempt, answer] of attempts) note(stage, host.name, attempt, answer);
  const listing = await host.get('/replication/v1/relationships');
  const listed = (listing.body['relationships'] as unknown[] | undefined)?.length;
  // Who has no entry at all may not even ask; whoever may is told of none.
  const learnsNothing = listing.status === 200 ? listed === 0 : listing.status === 403 && listing.code !== null;
  stage.report.refusals.push({
    who: host.name,
    attempt: 'list replicas',
    status: listing.status,
    answer: listing.code ?? `${listed} listed`,
  });
  const isRefused = attempts.every(([, answer]) => answer.status === status && answer.code !== null) && learnsNothing;
  stage.check(
    `${host.name}: everything is refused`,
    isRefused,
    `${attempts.length} × ${status}, ${listing.status === 200 ? 'an empty list' : 'no list'}`,
  );
}

async function attemptsOf(host: Trespasser, relationshipId: string, cycleId: string): Promise<(readonly [string, Answer])[]> {
  const relationship = `/replication/v1/relationships/${relationshipId}`;
  const cycle = `/replication/v1/cycles/${cycleId}`;
  const bytes = randomBytes(64 * KIB);
  const opening = { epoch: { incarnation: 0, counter: 1 }, parent: null, kind: 'delta', manifestKind: 'point', tag: PRODUCTION_TAG };
  return [
    ['read the relationship', await host.get(relationship)],
    ['open a cycle', await host.post(`${relationship}/cycles`, opening)],
    ['read a cycle', await host.get(cycle)],
    ['write a segment', await host.upload('PUT', `${cycle}/segments/${sha256Of(bytes)}`, bytes)],
    ['commit a cycle', await host.upload('POST', `${cycle}/commit`, bytes)],
  ];
}

/** What exists elsewhere and what exists nowhere are told alike. */
async function learnNothing(stage: Stage, host: Trespasser, { relationshipId, cycles }: ProtectedVm): Promise<void> {
  const foreign = await attemptsOf(host, relationshipId, cycles.at(-1)!.id);
  const invented = await attemptsOf(host, newId(), newId());
  const words = (answers: readonly (readonly [string, Answer])[]): string =>
    JSON.stringify(answers.map(([, { status, code, body }]) => [status, code, body['title'], body['detail'], body['details']]));
  stage.check('the answers are those for ids that exist nowhere: nothing is learnt', words(foreign) === words(invented));
}

/** The same over the portal's API, signed in as the other tenant's admin. */
async function readFromPortal(stage: Stage, { client, slug }: DemoTenant, { relationshipId, points }: ProtectedVm): Promise<void> {
  const who = `admin of ${slug}, portal`;
  const attempts = [
    ['read the relationship', () => client.relationships.get(relationshipId)],
    ['fail the VM over', () => client.failovers.start(relationshipId, { type: 'Unplanned' })],
    ['export a recovery point', () => client.exports.create(points.at(-1)!.id, { diskOrdinal: 0, format: 'raw' })],
  ] as const;
  let refused = 0;
  for (const [attempt, work] of attempts) {
    const code = await work().then(
      () => null,
      (error: { code?: string; kind?: string }) => (error.kind === 'not-found' ? (error.code ?? null) : null),
    );
    if (code !== null) refused += 1;
    stage.report.refusals.push({ who, attempt, status: code === null ? 200 : 404, answer: code ?? 'not refused' });
  }
  const lists = [await client.vms.list(), await client.relationships.list(), await client.failovers.list()];
  const isEmpty = lists.every(({ items }) => items.length === 0);
  stage.check(`${who}: everything is refused, every list is empty`, refused === attempts.length && isEmpty);
}

/** Revokes a certificate while its connection is open and in use. */
async function useRevoked(stage: Stage, contoso: DemoTenant): Promise<Trespasser> {
  const host = await Trespasser.enrol(stage, { tenant: contoso, fqdn: 'hv02.test.contoso.example', tag: TEST_TAG });
  const first = await host.get('/identity/v1/self');
  const waiting = host.get('/commands/v1?after=0&waitMs=20000').then(
    ({ status }) => `answered ${status}`,
    () => 'cut',
  );
  const startedMs = stage.clock.monotonicMs();
  await contoso.client.agents.revoke(host.agentId, 'the demo revokes it while it is connected');
  const end = await waiting;
  const cutMs = stage.clock.monotonicMs() - startedMs;
  const who = `${host.name}, revoked`;
  stage.report.refusals.push({ who, attempt: 'go on on its open connection', status: 0, answer: `connection ${end}` });
  const again = await host.get('/identity/v1/self');
  note(stage, who, 'come again with the same certificate', again);
  stage.check(
    'a revoked certificate is cut off on its open connection, and refused from then on',
    first.status === 200 && end === 'cut' && cutMs < 10 * SECOND_MS && again.status === 401,
    `cut after ${Math.round(cutMs)} ms, then ${again.code}; ${host.connections} connections`,
  );
  return host;
}

/** Each refused attempt stands in the audit log of the host's own tenant, neither more nor fewer. */
async function areAudited(stage: Stage, { client, slug }: DemoTenant, hosts: readonly Trespasser[]): Promise<void> {
  const audited = async (): Promise<number[]> => {
    const { items } = await client.tenant.auditEvents({ action: 'peer.refused', outcome: 'refused', limit: 500 });
    const attemptsOf = (host: Trespasser): number[] =>
      items.filter(({ actorId }) => actorId === host.agentId).map(({ details }) => Number(details['attempts']));
    return hosts.map((host) => attemptsOf(host).reduce((sum, attempts) => sum + attempts, 0));
  };
  const found = await audited();
  stage.check(
    `each refused attempt stands in ${slug}'s audit log`,
    hosts.every(({ refusals }, index) => refusals > 0 && refusals === found[index]),
    hosts.map(({ name, refusals }, index) => `${name}: ${found[index]} of ${refusals}`).join('; '),
  );
}

function note(stage: Stage, who: string, attempt: string, { status, code }: Answer): void {
  const row: RefusalRow = { who, attempt, status, answer: code ?? 'not refused' };
  stage.report.refusals.push(row);
}

function sha256Of(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
