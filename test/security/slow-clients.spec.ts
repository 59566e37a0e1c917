import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { formatBytes, KIB, MIB } from '#libs/kernel';
import { count } from '../support/counts.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { expectOk, ProtectedVm } from '../support/protected-vm.js';
import { ReceiverProcess } from '../support/receiver-process.js';
import { startTestSite, until, type TestPeer, type TestSite } from '../support/receiver.js';
import { SlowClients } from '../support/slow-clients.js';

/*
 * One tenant's hosts hold connections and trickle uploads at a receiver, as many as they can; another tenant's agent uploads meanwhile.
 */

const IDLE_CLIENTS = count(200, 2_000);
const TRICKLING_CLIENTS = count(20, 200);
const UPLOADS = count(100, 1_000);
const CLIENTS_PER_HOST = 29;
const FILES_NEEDED = 2 * (IDLE_CLIENTS + TRICKLING_CLIENTS);

/** What a receiver may need of memory: for uploads its budget, for a connection so much with its TLS; and what a heap grows between two collections. */
const UPLOAD_MEMORY_MIB = 64;
const CONNECTION_BYTES = 128 * KIB;
const HEAP_SLACK_BYTES = 128 * MIB;
/** An upload that did not get its turn for so long is refused: that none is shows that its share was not taken. */
const UPLOAD_WAIT_SECONDS = count(1, 5);
const RENEW_EVERY = 50;

let database: TestDatabase;
let site: TestSite;
let receiver: ReceiverProcess;
let vm: ProtectedVm;
const hosts: TestPeer[] = [];
let clients: SlowClients;

beforeAll(async () => {
  database = await createTestDatabase();
  site = await startTestSite(database);
  receiver = await ReceiverProcess.prepare(site, database, {
    UPLOAD_MEMORY_MIB: `${UPLOAD_MEMORY_MIB}`,
    UPLOAD_WAIT_SECONDS: `${UPLOAD_WAIT_SECONDS}`,
  });
  await receiver.start();
  const [contoso, fabrikam] = [await site.api.tenant('contoso'), await site.api.tenant('fabrikam')];
  const [admin, stranger] = [await contoso.person('admin'), await fabrikam.person('admin')];
  const entry = { allowedPrimaryServer: 'hv1.contoso.example', tag: 'gold' };
  await site.api.request().post('/api/v1/authorization-entries').set(admin.headers).send(entry).expect(201);
  vm = await ProtectedVm.protect({ site, admin, fqdn: 'hv1.contoso.example', tag: 'gold' });
  vm.agent = vm.agent.at(receiver.url);
  const hostCount = Math.ceil((IDLE_CLIENTS + TRICKLING_CLIENTS) / CLIENTS_PER_HOST);
  for (let host = 0; host < hostCount; host += 1)
    hosts.push(await site.enrol(stranger, { fqdn: `hv${host}.fabrikam.example`, tag: 'gold' }));
  clients = new SlowClients(new URL(receiver.url), hosts);
}, 120_000);
afterAll(async () => {
  await clients?.stop();
  await receiver?.remove();
  await site?.close();
  await database?.drop();
});

const openFilesMax = (): number => {
  const limit = /^Max open files\s+(\w+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
  return limit === 'unlimited' ? Infinity : Number(limit);
};

const residentBytes = (): number => Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${receiver.pid}/status`, 'utf8'))![1]) * KIB;

interface Round {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  readonly residentMaxBytes: number;
  /** Status and code of what was not taken. */
  readonly refused: readonly string[];
}

/** Uploads one after another: what a healthy agent does, with the time that each took. */
async function uploads(): Promise<Round> {
  const cycle = await vm.opened();
  const segments = Array.from({ length: 8 }, (_, at) => vm.segment(cycle, at * 3));
  const tookMs: number[] = [];
  const refused: string[] = [];
  let residentMaxBytes = 0;
  for (let turn = 0; turn < UPLOADS; turn += 1) {
    if (turn % RENEW_EVERY === 0)
      await expectOk(vm.agent.send('PUT', `/replication/v1/cycles/${cycle.id}`, '{}', { 'content-type': 'application/json' }));
    const { bytes, sha256 } = segments[turn % segments.length]!;
    const sinceMs = performance.now();
    const { status, code } = await vm.put(cycle, bytes, sha256);
    if (status !== 200 && status !== 201) refused.push(`${status} ${code}`);
    tookMs.push(performance.now() - sinceMs);
    residentMaxBytes = Math.max(residentMaxBytes, residentBytes());
  }
  tookMs.sort((a, b) => a - b);
  const at = (share: number): number => tookMs[Math.min(tookMs.length - 1, Math.floor(share * tookMs.length))]!;
  return { p50Ms: at(0.5), p99Ms: at(0.99), maxMs: tookMs.at(-1)!, residentMaxBytes, refused };
}

const shown = ({ p50Ms, p99Ms, maxMs, residentMaxBytes }: Round): string =>
  `p50 ${p50Ms.toFixed(1)} ms, p99 ${p99Ms.toFixed(1)} ms, most ${maxMs.toFixed(1)} ms; ${formatBytes(residentMaxBytes)} resident`;

describe('a flood of slow clients', () => {
  it("neither keeps another tenant's agent from uploading nor takes more memory than is bounded", async (context) => {
    if (openFilesMax() < FILES_NEEDED) context.skip(`needs ${FILES_NEEDED} open files; ulimit -n is ${openFilesMax()}`);
    await uploads();
    const calm = await uploads();
    clients.idle(IDLE_CLIENTS);
    await until('the idle clients to be connected', () => clients.counts.idle >= IDLE_CLIENTS * 0.95, 120_000);
    clients.trickle(TRICKLING_CLIENTS);
    await until('the trickling clients to have met the gate', () => clients.counts.answers.size > 0, 60_000);
    const flooded = await uploads();

    const { counts } = clients;
    process.stdout.write(
      [
        `${counts.idle} idle and ${counts.trickling} trickling clients of ${hosts.length} hosts, ${counts.connected} connections made`,
        `calm:    ${shown(calm)}`,
        `flooded: ${shown(flooded)}`,
        `p99 flooded / calm: ${(flooded.p99Ms / calm.p99Ms).toFixed(2)}`,
        `told to the trickling: ${[...counts.answers].map(([code, times]) => `${code} ${times}`).join(', ')}`,
      ].join('\n') + '\n',
    );
    expect([...calm.refused, ...flooded.refused]).toEqual([]);
    const boundBytes =
      calm.residentMaxBytes + UPLOAD_MEMORY_MIB * MIB + CONNECTION_BYTES * (IDLE_CLIENTS + TRICKLING_CLIENTS) + HEAP_SLACK_BYTES;
    expect(flooded.residentMaxBytes).toBeLessThan(boundBytes);
    expect([...counts.answers.keys()]).toSatisfy((codes: string[]) =>
      codes.every((code) => ['upload.too-many', 'upload.tenant-too-many', 'receiver.busy', 'upload.too-slow'].includes(code)),
    );
    expect(counts.unhelpful).toBe(0);
  });

  it('leaves the other tenant as many uploads side by side as an agent makes', async (context) => {
    if (openFilesMax() < FILES_NEEDED) context.skip(`needs ${FILES_NEEDED} open files; ulimit -n is ${openFilesMax()}`);
    const cycle = await vm.opened();
    const segments = Array.from({ length: 8 }, (_, at) => vm.segment(cycle, at * 3));
    const answers = await Promise.all(segments.map(({ bytes, sha256 }) => vm.put(cycle, bytes, sha256)));
    expect(answers.map(({ status }) => status)).toEqual(segments.map(() => 201));
    expect(clients.counts.trickling).toBeGreaterThan(0);
  });
});
