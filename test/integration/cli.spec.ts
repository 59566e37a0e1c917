import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { z } from 'zod';
import { pageOf } from '#libs/contracts/common';
import {
  agentView,
  auditEventsView,
  createdApiToken,
  createdEnrolmentToken,
  cycleView,
  failoverView,
  meView,
  recoveryPointView,
  relationshipView,
  tenantView,
  vmView,
} from '#libs/contracts/http';
import { newId } from '#libs/kernel';
import { FileObjectStore } from '#libs/object-store';
import { FIRST_OPERATOR, PASSWORD, startTestApi, type TestApi, type TestTenant } from '../support/api.js';
import { CommandLine, HOLDFAST } from '../support/command-line.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import { seedProtectedVm, type SeededVm } from '../support/seed.js';

const ADA = 'ada@contoso.test';

let database: TestDatabase;
let api: TestApi;
let apiUrl: string;
let contoso: TestTenant;
let seeded: SeededVm;
let home: string;
let cli: CommandLine;

beforeAll(async () => {
  database = await createTestDatabase();
  home = await mkdtemp(join(tmpdir(), 'holdfast-cli-'));
  cli = new CommandLine(home);
  api = await startTestApi(database, { STORE_URL: pathToFileURL(join(home, 'store')).href });
  apiUrl = await api.app.listen();
  contoso = await api.tenant('contoso');
  seeded = await seedProtectedVm(database, contoso.id);
  const addAda = ['operator', 'users', 'create', '--tenant', 'contoso', '--email', ADA, '--role', 'admin', '--password-stdin'];
  await done(['login', '--api', apiUrl, '--email', FIRST_OPERATOR, '--password-stdin', '--profile', 'provider'], PASSWORD);
  await done([...addAda, '--profile', 'provider'], PASSWORD);
  await done(['login', '--api', apiUrl, '--tenant', 'contoso', '--email', ADA, '--password-stdin'], PASSWORD);
});

afterAll(async () => {
  await api.close();
  await database.drop();
  await rm(home, { recursive: true, force: true });
});

const holdfast: CommandLine['run'] = (...call) => cli.run(...call);
const done: CommandLine['done'] = (...call) => cli.done(...call);
const json = <S extends z.ZodType>(schema: S, args: readonly string[]) => cli.json(schema, args);

describe('signing in', () => {
  it('keeps a token instead of the password, for this user alone', async () => {
    const file = join(home, 'holdfast', 'config.json');
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect(await readFile(file, 'utf8')).not.toContain(PASSWORD);
    expect(await json(meView, ['whoami'])).toMatchObject({ email: ADA, role: 'admin', csrfToken: null });
    expect(await json(meView, ['whoami', '--profile', 'provider'])).toMatchObject({ kind: 'operator', tenant: null });
    expect(await done(['profiles', 'list'])).toMatch(/\*\s+default\s+ada@contoso\.test\s+contoso/);
  });

  it('works from the environment alone, and revokes', async () => {
    const created = await json(createdApiToken, ['tokens', 'create', '--name', 'reports', '--role', 'viewer']);
    const environment = { HOLDFAST_API: apiUrl, HOLDFAST_TOKEN: created.token, XDG_CONFIG_HOME: join(home, 'nowhere') };
    const viewer = await holdfast(['vms', 'list'], '', environment);
    expect(viewer).toMatchObject({ code: 0, err: '' });
    const refused = await holdfast(['protect', 'web-1-lab'], '', environment);
    expect(refused.code).toBe(4);
    expect(refused.err).toMatch(/^holdfast: .* \(\S+\)\n {2}`holdfast whoami` shows/);
    // A file as the standard input is another kind of stream than a pipe.
    await writeFile(join(home, 'reports'), created.token);
    const script = `"${HOLDFAST}" login --api ${apiUrl} --token-stdin --profile reports < "${join(home, 'reports')}"`;
    const shell = spawn('sh', ['-c', script], { env: cli.environment });
    expect((await once(shell, 'close'))[0]).toBe(0);
    await done(['profiles', 'use', 'default']);
    await done(['tokens', 'revoke', 'reports', '--yes']);
    expect(await holdfast(['vms', 'list'], '', environment)).toMatchObject({ code: 4, out: '' });
  });

  it('forgets and revokes at logout', async () => {
    await done(['login', '--api', apiUrl, '--tenant', 'contoso', '--email', ADA, '--password-stdin', '--profile', 'short'], PASSWORD);
    const { profiles } = JSON.parse(await readFile(join(home, 'holdfast', 'config.json'), 'utf8'));
    await done(['logout', '--profile', 'short']);
    await done(['profiles', 'use', 'default']);
    const environment = { HOLDFAST_API: apiUrl, HOLDFAST_TOKEN: profiles.short.token as string };
    expect((await holdfast(['whoami'], '', environment)).code).toBe(4);
    expect((await holdfast(['whoami', '--profile', 'short'])).code).toBe(5);
  });

  it('asks on a terminal what it was not told, and shows no password', async () => {
    const command = `${HOLDFAST} login --api ${apiUrl} --tenant contoso --profile asked`;
    const child = spawn('script', ['-qec', command, '/dev/null'], {
      env: { PATH: process.env['PATH'], HOME: home, XDG_CONFIG_HOME: home },
    });
    let screen = '';
    child.stdout.on('data', (data) => (screen += String(data)));
    const closed = once(child, 'close');
    await eventually('it asks who', () => screen.includes('E-mail: '));
    child.stdin.write(`${ADA}\r`);
    await eventually('it asks for the password', () => screen.includes('Password: '));
    child.stdin.write(`${PASSWORD}\r`);
    await eventually('it is signed in', () => screen.includes('profile asked'));
    child.stdin.end();
    expect((await closed)[0]).toBe(0);
    expect(screen).toContain(ADA);
    expect(screen).not.toContain(PASSWORD);
    await done(['profiles', 'use', 'default']);
  });

  it('says one sentence when the password is wrong', async () => {
    const run = await holdfast(['login', '--api', apiUrl, '--tenant', 'contoso', '--email', ADA, '--password-stdin'], 'wrong');
    expect(run).toMatchObject({ code: 4, out: '' });
    expect(run.err).toContain('(login.refused)');
    expect((await holdfast(['whoami'])).code).toBe(0);
  });
});

describe("a tenant's commands", () => {
  it('lists and shows VMs, for people and for programs', async () => {
    const { items } = await json(pageOf(vmView), ['vms', 'list']);
    expect(items.map(({ id }) => id).sort()).toEqual([seeded.vmId, seeded.unprotectedVmId].sort());
    const table = await done(['vms', 'list']);
    expect(table).toMatch(/^VM\s+POWER\s+CPUS\s+MEMORY\s+DISKS\s+PROTECTION/);
    expect(table).toMatch(/^web-1\s+running\s+2\s+1\.00 GiB\s+1, 1\.00 GiB\s+Replicating/m);
    expect(table).not.toContain('\u001b');
    expect(await json(vmView, ['vms', 'show', 'web-1'])).toEqual(await json(vmView, ['vms', 'show', seeded.vmId]));
  });

  it('shows replication, cycles and points', async () => {
    expect(await json(relationshipView, ['replication', 'show', 'web-1'])).toMatchObject({ id: seeded.relationshipId });
    expect((await json(pageOf(cycleView), ['cycles', 'web-1', '--limit', '2'])).items).toHaveLength(2);
    const { items } = await json(pageOf(recoveryPointView), ['points', 'web-1']);
    expect(items.map(({ id }) => id)).toEqual(seeded.pointIds.toReversed());
    expect(await done(['points', 'web-1'])).toMatch(/^2\s+\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC\s+\S.*crash\s+1\s/m);
    expect(await done(['cycles', 'web-1'])).toMatch(/^3\s+delta\s+committed/m);
  });

  it('protects, changes the policy and leaves the rest of it, suspends, resumes, and removes only after a yes', async () => {
    const wish = ['--frequency', '30s', '--history', '12', '--bandwidth', '10MiB'];
    const made = await json(relationshipView, ['protect', 'web-1-lab', ...wish]);
    expect(made.policy).toMatchObject({ frequencySeconds: 30, recoveryHistoryHours: 12, bandwidthBytesPerSecond: 10_485_760 });
    expect((await holdfast(['protect', 'web-1-lab'])).code).toBe(6);
    const { policy } = await json(relationshipView, ['replication', 'policy', 'web-1-lab', '--frequency', '15m', '--bandwidth', 'none']);
    expect(policy).toMatchObject({ frequencySeconds: 900, recoveryHistoryHours: 12, bandwidthBytesPerSecond: null });
    const refused = await holdfast(['replication', 'remove', 'web-1-lab']);
    expect(refused).toMatchObject({ code: 2, out: '' });
    expect(refused.err).toContain('add --yes');
    await done(['replication', 'remove', 'web-1-lab', '--yes']);
    expect((await holdfast(['replication', 'show', 'web-1-lab'])).code).toBe(5);
  });

  it('suspends and resumes', async () => {
    expect(await json(relationshipView, ['replication', 'suspend', 'web-1'])).toMatchObject({ state: 'Suspended' });
    expect(await json(relationshipView, ['replication', 'resume', 'web-1'])).toMatchObject({ state: 'Replicating' });
  });

  it('writes each ended cycle while it watches, until it is interrupted', async () => {
    const child = cli.start(['cycles', 'web-1', '--watch', '--json']);
    let out = '';
    child.stdout.on('data', (data) => (out += String(data)));
    const closed = once(child, 'close');
    try {
      await eventually('three cycles are written', () => out.split('\n').length === 4);
    } finally {
      child.kill('SIGINT');
    }
    expect((await closed)[0]).toBe(130);
    const cycles = out
      .trim()
      .split('\n')
      .map((line) => cycleView.parse(JSON.parse(line)));
    expect(cycles.map(({ cycle }) => Number(BigInt(cycle) & 0xffffn))).toEqual([1, 2, 3]);
  });

  it('lists agents, lets hosts in, and keeps a token out of sight', async () => {
    expect((await json(pageOf(agentView), ['agents', 'list'])).items.map(({ id }) => id)).toEqual([seeded.agentId]);
    await done(['allow', 'add', '*.contoso.example', '--tag', 'tag-b']);
    expect(await done(['allow', 'list'])).toMatch(/^\*\.contoso\.example\s+any\s+tag-b/m);
    const file = join(home, 'token');
    const wish = ['enrolment-token', 'create', '--host', 'hv02.contoso.example', '--tag', 'tag-b'];
    const said = await done([...wish, '-o', file]);
    const token = (await readFile(file, 'utf8')).trim();
    expect(said).not.toContain(token);
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect((await json(createdEnrolmentToken, wish)).token).not.toBe(token);
    expect((await holdfast(wish)).err).toBe('');
    const unlisted = await holdfast(['enrolment-token', 'create', '--host', 'hv02.fabrikam.example', '--tag', 'tag-b']);
    expect(unlisted).toMatchObject({ code: 0, err: expect.stringContaining('holdfast allow add hv02.fabrikam.example --tag tag-b') });
    const otherTag = await holdfast(['enrolment-token', 'create', '--host', '*.contoso.example', '--tag', 'tag-c']);
    expect(otherTag.err).toContain('holdfast allow add');
  });

  it('starts a failover and finds it by the VM', async () => {
    expect((await holdfast(['failover', 'start', 'web-1', '--type', 'unplanned'])).code).toBe(2);
    const point = seeded.pointIds[1]!;
    const started = await json(failoverView, ['failover', 'start', 'web-1', '--type', 'test', '--point', point]);
    expect(started).toMatchObject({ type: 'Test', state: 'Queued', recoveryPointId: point });
    expect(await json(failoverView, ['failover', 'show', 'web-1'])).toMatchObject({ id: started.id });
    expect(await done(['failover', 'list'])).toMatch(/^web-1\s+Test\s+Queued/m);
    const none = await holdfast(['failover', 'screenshot', 'web-1', '-o', join(home, 'x.png')]);
    expect(none.code).toBe(5);
    expect(none.err).toContain('(screenshot.not-found)');
  });

  it('asks for an export, and goes on with a fetch that broke off', async () => {
    const content = randomBytes(300_000);
    const sha256 = createHash('sha256').update(content).digest('hex');
    const store = await FileObjectStore.open(join(home, 'store'));
    await store.put('exported', content, { sizeBytes: content.length, sha256 });
    await database.asSuperuser(
      `update point_export set state = 'Completed', size_bytes = $2, sha256 = $3, object_key = 'exported' where id = $1`,
      [seeded.exportId, content.length, sha256],
    );
    const directory = await mkdtemp(join(home, 'exports-'));
    const file = join(directory, 'web-1.raw');
    await writeFile(`${file}.${seeded.exportId}.part`, content.subarray(0, 123_456));
    const run = await holdfast(['export', '--resume', seeded.exportId, '-o', file]);
    expect(run).toMatchObject({ code: 0 });
    expect(run.out).toContain(sha256);
    expect((await readFile(file)).equals(content)).toBe(true);
    expect(await readdir(directory)).toEqual(['web-1.raw']);
    expect((await holdfast(['export', 'web-1', '--disk', '7', '-o', file])).err).toContain('(export.no-such-disk)');

    const child = cli.start(['export', 'web-1', '-o', file]);
    let said = '';
    child.stderr.on('data', (data) => (said += String(data)));
    const closed = once(child, 'close');
    await eventually('the export was asked for', () => said.includes('the provider makes web-1-disk0-000002.vhdx'));
    child.kill('SIGINT');
    expect((await closed)[0]).toBe(130);
  });

  it('reads the audit log', async () => {
    const { items } = await json(auditEventsView, ['audit', 'list', '--action', 'failover.', '--since', '1h']);
    expect(items.map(({ action }) => action)).toEqual(['failover.started']);
    expect(await done(['audit', 'list', '--limit', '1'])).toMatch(/add --after \S+/);
  });
});

describe("the provider's commands", () => {
  const provider = (...args: string[]) => ['operator', ...args, '--profile', 'provider'];

  it('makes tenants and tokens for replica nodes, and lists what there is', async () => {
    expect(await json(tenantView, provider('tenants', 'create', '--slug', 'fabrikam'))).toMatchObject({ slug: 'fabrikam' });
    expect(await done(provider('tenants', 'list'))).toMatch(/^fabrikam\s+fabrikam\s+active/m);
    await json(createdEnrolmentToken, provider('node-token', 'create', '--host', 'rn01.provider.test', '--ttl', '5m'));
    for (const noun of ['nodes', 'receivers', 'jobs']) await done(provider(noun, 'list'));
    await json(auditEventsView, provider('audit'));
    const made = await done(provider('users', 'create', '--tenant', 'fabrikam', '--email', 'eve@fabrikam.test', '--generate-password'));
    expect(made).toMatch(/password, shown this once: \S{20}/);
    const weak = provider('users', 'create', '--tenant', 'fabrikam', '--email', 'bob@fabrikam.test', '--password-stdin');
    const refused = await holdfast(weak, 'elevenchars');
    expect(refused).toMatchObject({ code: 2, err: expect.stringContaining('(cli.password-length)') });
  });
});

describe('what goes wrong', () => {
  it.each([
    ['an unknown command', ['vm'], 2, 'Did you mean vms?'],
    ['an unknown command below a noun', ['vms', 'lst'], 2, 'Did you mean list?'],
    ['an unknown option', ['vms', 'list', '--jsn'], 2, 'Did you mean --json?'],
    ['a bad value', ['protect', 'web-1', '--frequency', '1m'], 2, 'one of 30s, 5m and 15m is wanted'],
    ['a VM that is not there', ['vms', 'show', 'web'], 5, 'did you mean web-1'],
    ['an id that is not there', ['vms', 'show', newId()], 5, '(vm.not-found)'],
    ['a provider’s command for a tenant’s person', ['operator', 'tenants', 'list'], 4, '`holdfast whoami` shows'],
    ['another machine in clear', ['login', '--api', 'http://dr.example.com'], 2, '(cli.plain-http)'],
    ['nobody to ask', ['login', '--email', ADA, '--tenant', 'contoso'], 2, 'give --password-stdin'],
    ['what the api refuses', ['allow', 'add', 'not a host', '--tag', 't'], 2, 'holdfast: '],
  ])('says what is wrong with %s', async (_what, args, code, words) => {
    const run = await holdfast(args);
    expect(run).toMatchObject({ code, out: '' });
    expect(run.err).toContain(words);
    expect(run.err).not.toMatch(/^\s+at /m);
  });

  it('says that nobody answers, to programs in JSON', async () => {
    const environment = { HOLDFAST_API: 'http://127.0.0.1:1', HOLDFAST_TOKEN: 'x' };
    const run = await holdfast(['vms', 'list', '--json'], '', environment);
    expect(run).toMatchObject({ code: 3, out: '' });
    expect(JSON.parse(run.err)).toMatchObject({ error: { code: 'api.unreachable', kind: 'unavailable' } });
  });

  it('lists the ids of VMs that have the same name', async () => {
    const twin = await seedProtectedVm(database, (await api.tenant('twins')).id, { vmName: 'twin' });
    await database.asSuperuser(`update virtual_machine set name = 'twin' where id = $1`, [twin.unprotectedVmId]);
    const asked = ['operator', 'users', 'create', '--tenant', 'twins', '--email', 'tom@twins.test', '--password-stdin'];
    await done([...asked, '--profile', 'provider'], PASSWORD);
    await done(
      ['login', '--api', apiUrl, '--tenant', 'twins', '--email', 'tom@twins.test', '--password-stdin', '--profile', 'twins'],
      PASSWORD,
    );
    const run = await holdfast(['vms', 'show', 'twin', '--profile', 'twins']);
    await done(['profiles', 'use', 'default']);
    expect(run.code).toBe(2);
    expect(run.err).toContain(twin.vmId);
    expect(run.err).toContain(twin.unprotectedVmId);
  });

  it('passes the words of the host applications through', async () => {
    expect(await done(['agent', '--help'])).toContain('enrol [options]');
    expect((await holdfast(['agent', 'status', '--data', join(home, 'no-agent')])).err).toMatch(/^holdfast-agent: /);
    expect(await done(['node', 'enrol', '--help'])).toContain('--token-file');
  });

  it('teaches', async () => {
    expect(await done(['--help'])).toMatch(/Exit codes:\n {2}0 {2}done/);
    expect(await done(['replication', 'suspend', '--help'])).toMatch(/Example:\n {2}\$ holdfast .*\n\nIn Hyper-V: Suspend-VMReplication/);
  });
});
