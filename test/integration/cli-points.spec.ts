import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { z } from 'zod';
import { pageOf } from '#libs/contracts/common';
import { extendedReplicationView, recoveryPointView, relationshipView, retentionPlanView } from '#libs/contracts/http';
import { PASSWORD, startTestApi, type TestApi } from '../support/api.js';
import { CommandLine } from '../support/command-line.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { seedProtectedVm, type SeededVm } from '../support/seed.js';

/* The recovery history on the command line. */

let database: TestDatabase;
let api: TestApi;
let apiUrl: string;
let seeded: SeededVm;
let home: string;
let cli: CommandLine;

beforeAll(async () => {
  database = await createTestDatabase();
  home = await mkdtemp(join(tmpdir(), 'holdfast-cli-'));
  cli = new CommandLine(home);
  const sites = { berlin: { url: pathToFileURL(join(home, 'berlin')).href } };
  await writeFile(join(home, 'third-sites.json'), JSON.stringify(sites));
  api = await startTestApi(database, { THIRD_SITES_FILE: join(home, 'third-sites.json') });
  apiUrl = await api.app.listen();
  seeded = await signInAt('contoso');
});
afterAll(async () => {
  await api?.close();
  await database?.drop();
  await rm(home, { recursive: true, force: true });
});

/** A tenant with a protected VM, of which the command line is its admin from now on. */
async function signInAt(slug: string): Promise<SeededVm> {
  const tenant = await api.tenant(slug);
  const vm = await seedProtectedVm(database, tenant.id);
  const { id } = await tenant.person('admin');
  const [admin] = await database.asSuperuser<{ email: string }>(`select email from tenant_user where id = $1`, [id]);
  await done(['login', '--api', apiUrl, '--tenant', slug, '--email', admin!.email, '--password-stdin'], PASSWORD);
  return vm;
}

const holdfast: CommandLine['run'] = (...call) => cli.run(...call);
const done: CommandLine['done'] = (...call) => cli.done(...call);
const json = <S extends z.ZodType>(schema: S, args: readonly string[]) => cli.json(schema, args);

it('pins points, plans what another policy would keep, and removes a point after a yes', async () => {
  const [oldest, , newest] = seeded.pointIds;
  const pinned = await json(recoveryPointView, ['points', 'pin', oldest!, '--note', 'before the upgrade']);
  expect(pinned).toMatchObject({ id: oldest, pin: { note: 'before the upgrade' } });
  expect(await done(['points', 'list', 'web-1'])).toContain('before the upgrade');

  const young = await done(['retention', 'plan', 'web-1']);
  expect(young).toMatch(/^NUMBER\s+COMMITTED\s+CONSISTENCY\s+WHY/);
  expect(young).toMatch(/3 stay, 0 go\.\n$/);
  const wish = ['--history', '0', '--minimum-age', '0m', '--immutable', '0h', '--app-consistent', 'none'];
  const plan = await json(retentionPlanView, ['retention', 'plan', 'web-1', ...wish]);
  expect(plan).toMatchObject({ keptCount: 2, removedCount: 1 });
  const table = await done(['retention', 'plan', 'web-1', ...wish]);
  expect(table).toMatch(/^2\s.*stays\s+newest/m);
  expect(table).toMatch(/^1\s.*goes\s+older than the history/m);
  expect(table).toMatch(/^0\s.*stays\s+pinned: before the upgrade/m);
  expect(table).toContain('Nothing was changed');
  expect((await holdfast(['retention', 'plan', 'web-1', '--tier', '1d'])).err).toContain('such as 1d:30d');

  expect((await holdfast(['points', 'remove', oldest!, '--yes'])).err).toContain('(point.pinned)');
  await done(['points', 'unpin', oldest!]);
  expect((await holdfast(['points', 'remove', oldest!])).err).toContain('add --yes');
  await done(['points', 'remove', oldest!, '--yes']);
  expect((await holdfast(['points', 'remove', newest!, '--yes'])).code).toBe(6);
  expect((await json(pageOf(recoveryPointView), ['points', 'web-1'])).items).toHaveLength(2);
});

it('changes what the policy keeps, and leaves the rest of it', async () => {
  const tiers = ['--tier', '30min:1d', '--tier', '1w:1y', '--app-consistent', '4', '--minimum-age', '2h', '--immutable', '7d'];
  const { policy: tiered } = await json(relationshipView, ['replication', 'policy', 'web-1', ...tiers]);
  expect(tiered).toMatchObject({ frequencySeconds: 300, recoveryHistoryHours: 24 });
  const wanted = { minimumAgeMinutes: 120, immutableHours: 168, applicationConsistentEveryHours: 4 };
  const [minutes, weeks] = [
    { everyMinutes: 30, forMinutes: 1_440 },
    { everyMinutes: 10_080, forMinutes: 525_600 },
  ];
  expect(tiered.retention).toEqual({ ...wanted, tiers: [minutes, weeks] });
  const fewer = await json(relationshipView, ['replication', 'policy', 'web-1', '--tier', 'none', '--history', '6']);
  expect(fewer.policy.retention).toEqual({ ...wanted, tiers: [] });
  const { out } = await holdfast(['replication', 'show', 'web-1']);
  expect(out).toMatch(/Immutable\s+for 1 w/);
});

it('marks damaged points, takes none of them unless asked to, and goes back to an older one by itself', async () => {
  const other = await signInAt('fabrikam');
  const [, middle, newest] = other.pointIds;
  const cycles = await database.asSuperuser<{ id: string; cycle: string }>(`select id, cycle from chain_manifest where chain_id = $1`, [
    other.chainId,
  ]);
  const newestCycle = cycles.find(({ id }) => id === newest)!.cycle;
  await database.asSuperuser(
    `insert into chain_damage (tenant_id, chain_id, name, kind, code, message, positions, assessed_to, blocks)
     select tenant_id, id, 's/x', 'segment', 'view.hash-mismatch', 'flipped', array[$2], $2, '[]' from replica_chain where id = $1`,
    [other.chainId, newestCycle],
  );
  expect(await done(['points', 'list', 'web-1'])).toMatch(/ damaged /);
  const page = await json(pageOf(recoveryPointView), ['points', 'list', 'web-1']);
  expect(page.items.map(({ id, isDamaged }) => [id, isDamaged])).toEqual(other.pointIds.toReversed().map((id) => [id, id === newest]));
  const { items } = await json(pageOf(relationshipView), ['replication', 'list']);
  const health = items.find(({ id }) => id === other.relationshipId);
  expect(health).toMatchObject({ health: 'Critical', healthDetails: [{ code: 'health.chain-damaged' }] });
  const refused = await holdfast(['export', newest!, '--format', 'raw', '-o', join(home, 'x.raw')]);
  expect(refused).toMatchObject({ code: 6 });
  expect(refused.err).toContain('point.damaged');
  const failover = await holdfast(['failover', 'start', 'web-1', '--type', 'test', '--point', newest!, '--yes']);
  expect(failover.err).toContain('point.damaged');
  const started = await holdfast(['failover', 'start', 'web-1', '--type', 'test', '--yes', '--json']);
  expect(JSON.parse(started.out)).toMatchObject({ recoveryPointId: middle });
  expect(started.err).toContain('newest sound one');
});

it('carries a VM on to a third site, and shows how far', async () => {
  const wanted = { site: 'berlin', frequencySeconds: 900, state: 'InitialReplicationInProgress', health: 'Warning' };
  expect(await json(extendedReplicationView, ['extend', 'web-1', '--to', 'berlin', '--frequency', '15m'])).toMatchObject(wanted);
  expect(await json(relationshipView, ['replication', 'show', 'web-1'])).toMatchObject({ extended: wanted });
  expect(await done(['extend', 'list'])).toMatch(/^web-1\s+berlin\s+.*Warning/m);
  expect(await done(['extend', 'status', 'web-1'])).toContain('extended.initial-carrying');
  expect(await holdfast(['extend', 'web-1', '--to', 'paris'])).toMatchObject({
    code: 2,
    err: expect.stringContaining('third-site.unknown'),
  });
  expect(await holdfast(['extend', 'web-1', '--to', 'berlin', '--frequency', '30s'])).toMatchObject({ code: 2 });
  await done(['extend', 'stop', 'web-1', '--yes']);
  expect(await done(['extend', 'list'])).toMatch(/Nothing is carried on/);
});
