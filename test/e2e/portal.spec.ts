import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FIRST_OPERATOR, PASSWORD } from '../support/api.js';
import type { TestDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import { consolePicture, heading, openTab, picture, signIn, type Tab, text } from '../support/portal-browser.js';
import { bringUp, carryOn, damagePoint } from '../support/portal-seed.js';
import { PORTAL_ADMIN, type PortalStage, startPortalStage } from '../support/portal-stage.js';

let stage: PortalStage;
let database: TestDatabase;
let url: string;
let browser: Browser;
let nodeId: string;

beforeAll(async () => {
  stage = await startPortalStage();
  ({ database, url, browser, nodeId } = stage);
});

afterAll(() => stage?.close());

describe('the portal of a tenant', () => {
  let tab: Tab;
  let page: Page;

  beforeAll(async () => {
    tab = await openTab(browser);
    page = tab.page;
    await page.goto(url);
  });
  afterAll(() => tab.context.close());

  it('lets in who knows the password, and says plainly to others that they do not', async () => {
    await page.getByRole('button', { name: 'Sign in' }).waitFor();
    await picture(page, 'sign-in');
    await signIn(page, { tenant: 'contoso', email: PORTAL_ADMIN, password: 'not the password' });
    expect(await page.getByRole('alert').innerText()).toContain('login.refused');
    await signIn(page, { tenant: 'contoso', email: PORTAL_ADMIN });
    await heading(page, 'Overview');
  });

  it('shows what needs attention first, then every VM with its health and RPO', async () => {
    await page.getByRole('table', { name: 'Virtual machines' }).waitFor();
    const rows = await page.getByRole('table', { name: 'Virtual machines' }).locator('tbody tr').allInnerTexts();
    expect(rows.map((row) => /^\S+/.exec(row)![0])).toEqual(['erp-app', 'file-server', 'build-agent', 'jump-host', 'sql-01']);
    const all = await text(page);
    expect(all).toContain('3 of 5 VMs');
    expect(all).toContain('a segment does not match its hash (segment.hash-mismatch). Mend the cause, then resume.');
    expect(all).toMatch(/sql-01 .* Normal Replicating .* \/ 5 min/);
    expect(await page.getByRole('button', { name: 'Protect jump-host' }).isDisabled()).toBe(true);
    await picture(page, 'overview');
  });

  it('shows a VM with its charts, recovery points, cycles and settings', async () => {
    await page.getByRole('link', { name: 'sql-01' }).click();
    await heading(page, 'sql-01');
    await page.getByRole('img', { name: /^RPO over the last 47 recovery points: at worst [56] min/ }).waitFor();
    await page.getByRole('img', { name: /^Bytes changed and sent in the last 40 cycles/ }).waitFor();
    await picture(page, 'vm');
    await page.getByRole('button', { name: 'Show all 48' }).click();
    expect(await page.getByRole('table', { name: 'Recovery points' }).locator('tbody tr').count()).toBe(48);
    await page.getByRole('tab', { name: 'Cycles' }).click();
    expect(await page.getByRole('table', { name: 'Replication cycles' }).locator('tbody tr').first().innerText()).toContain('Committed');
    await picture(page, 'vm-cycles');
    await page.getByRole('tab', { name: 'Settings' }).click();
    await page.getByLabel('Replication frequency').selectOption('30');
    await page.getByText('target 30 s', { exact: true }).first().waitFor();
    await page.getByRole('button', { name: 'Suspend replication' }).click();
    await page.getByRole('button', { name: 'Resume replication' }).click();
    await page.getByRole('button', { name: 'Suspend replication' }).waitFor();
    await page.getByLabel('Replication frequency').selectOption('300');
    await picture(page, 'vm-settings');
  });

  it('shows what the store holds of a VM, what of it is damaged, and what lies there as files', async () => {
    await carryOn(database, stage.contosoId, stage.vm);
    const damage = await damagePoint(database, stage.contosoId, stage.vm);
    await page.reload();
    await page.getByText('48').first().waitFor();
    await page.getByRole('button', { name: 'Show all 48' }).click();
    const damaged = page.getByRole('table', { name: 'Recovery points' }).locator('tr').filter({ hasText: 'Damaged' });
    expect(await damaged.count()).toBe(1);
    await damaged.getByRole('button', { name: 'Test failover' }).click();
    expect(await page.getByRole('button', { name: 'Start the test' }).isDisabled()).toBe(true);
    await page.getByRole('checkbox').check();
    expect(await page.getByRole('button', { name: 'Start the test' }).isDisabled()).toBe(false);
    await page.getByRole('dialog').getByRole('button', { name: 'Close' }).click();

    const third = await page.getByRole('region', { name: 'Extended replication to berlin' }).innerText();
    expect(third.replaceAll(/\s+/g, ' ')).toMatch(
      /Normal State there Replicating 15 min Last point there 1\d min ago .* Pending 30\.0 MiB/,
    );
    await page.getByRole('tab', { name: 'Chain' }).click();
    await page.getByText('1 object damaged').waitFor();
    expect(await page.getByRole('table', { name: 'Damage' }).innerText()).toMatch(/Segment s\/c+[^]*segment\.hash-mismatch[^]*1: /);
    await page.getByRole('button', { name: 'Check every byte' }).click();
    await page.getByText('Waiting', { exact: true }).waitFor();
    expect(await page.getByRole('button', { name: 'Check what is there' }).isDisabled()).toBe(true);
    expect(await page.getByRole('table', { name: 'Publications' }).innerText()).toMatch(
      /VHDX[^]*one each day for 30 days · follows[^]*0 of 3/,
    );
    await picture(page, 'vm-chain');

    await page.getByRole('button', { name: 'Publish files' }).click();
    await page.getByLabel('Format').selectOption('vhd');
    const publish = page.getByRole('dialog').getByRole('button', { name: 'Publish' });
    expect(await publish.isDisabled()).toBe(true);
    await page.getByLabel('I know that these files are not encrypted').check();
    await picture(page, 'publish-dialog');
    await publish.click();
    const published = page.getByRole('table', { name: 'Publications' }).locator('tbody tr');
    await eventually('it is listed', async () => (await published.count()) === 2);
    const vhd = published.filter({ hasText: 'VHD all' });
    await vhd.getByRole('button', { name: 'Stop' }).click();
    await vhd.getByText('Stopped').waitFor();
    await vhd.getByRole('button', { name: 'Delete' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Delete the files' }).click();
    await vhd.getByText('Deleting').waitFor();
    await damage.mend();
  });

  it('protects a VM', async () => {
    await page.getByRole('link', { name: 'Overview' }).first().click();
    await page.getByRole('link', { name: 'build-agent' }).click();
    await page.getByText('This VM is not protected').waitFor();
    await page.getByRole('button', { name: 'Enable replication' }).click();
    await page.getByRole('dialog').getByLabel('Replication frequency').selectOption('900');
    await picture(page, 'enable-dialog');
    await page.getByRole('dialog').getByRole('button', { name: 'Enable replication' }).click();
    await page.getByText('target 15 min').first().waitFor();
    expect(await text(page)).toContain('there is no recovery point yet');
    await picture(page, 'vm-new');
  });

  it('asks before a failover, runs it with its steps live, and ends it', async () => {
    await page.getByRole('link', { name: 'Overview' }).first().click();
    await page.getByRole('link', { name: 'sql-01' }).click();
    await page.getByRole('button', { name: 'Fail over to this point' }).nth(3).click();
    const confirm = page.getByRole('dialog').getByRole('button', { name: 'Fail over now' });
    expect(await confirm.isDisabled()).toBe(true);
    await page.getByRole('checkbox').check();
    expect(await confirm.isDisabled()).toBe(false);
    await picture(page, 'failover-dialog');
    await page.getByRole('dialog').getByRole('button', { name: 'Close' }).click();

    await page.getByRole('button', { name: 'Test failover' }).first().click();
    await page.getByRole('button', { name: 'Start the test' }).click();
    await heading(page, 'Test failover of sql-01');
    await page.getByText('Choose a replica node').waitFor();
    const id = page.url().split('/').at(-1)!;
    await database.asSuperuser(
      `update saga_step set state = 'succeeded', started_at = now(), finished_at = now() where saga_id = $1 and position < 2`,
      [id],
    );
    await database.asSuperuser(`update saga_step set state = 'running', started_at = now() where saga_id = $1 and position = 2`, [id]);
    await database.asSuperuser(`update failover set state = 'InProgress' where id = $1`, [id]);
    await page.locator('.timeline .active').waitFor();
    await picture(page, 'failover-running');

    await bringUp(database, id, nodeId, await consolePicture(browser));
    await page.getByText('The VM came up from its replica.').waitFor();
    const all = await text(page);
    expect(all).toContain('until the guest answered');
    expect(all).toContain('On replica node node-1.provider.test.');
    expect(all).toContain('counter 18205 at 10:14:08');
    const image = page.getByRole('img', { name: 'Screen of sql-01' });
    await eventually('the picture is there', () =>
      image.evaluate((element) => (element as unknown as { naturalWidth: number }).naturalWidth > 0),
    );
    await picture(page, 'failover');

    await page.getByRole('button', { name: 'End the test' }).click();
    expect(await page.getByRole('dialog').innerText()).toContain('Everything that the copy wrote is forgotten.');
    await page.getByRole('dialog').getByRole('button', { name: 'End the test' }).click();
    await page.getByText('Cancelling').first().waitFor();
    await page.getByRole('link', { name: 'Failovers' }).first().click();
    await heading(page, 'Failovers');
    await page.getByRole('table', { name: 'Failovers' }).waitFor();
    await picture(page, 'failovers');
  });

  it('fails over for good once somebody says that the VM at the site is down', async () => {
    await page.getByRole('link', { name: 'Overview' }).first().click();
    await page.getByRole('link', { name: 'sql-01' }).last().click();
    await page.getByRole('button', { name: 'Fail over', exact: true }).click();
    await page.getByRole('checkbox').check();
    await page.getByRole('button', { name: 'Fail over now' }).click();
    await heading(page, 'Failover of sql-01');
    await page.getByText('Shut the primary site out').waitFor();
    await bringUp(database, page.url().split('/').at(-1)!, nodeId, await consolePicture(browser));
    await page.getByRole('button', { name: 'Complete the failover' }).click();
    expect(await page.getByRole('dialog').innerText()).toContain('The failover cannot be cancelled any more');
    await picture(page, 'complete-dialog');
    await page.getByRole('dialog').getByRole('button', { name: 'Complete the failover' }).click();
    await page.getByText('Completed').first().waitFor();
    await page.getByRole('link', { name: 'To the VM' }).click();
    await page.getByText('The VM runs on the replica cluster.').waitFor();
    expect(await page.getByRole('button', { name: 'Fail over', exact: true }).isDisabled()).toBe(true);
  });

  it('shows agents and lets a new one in with a token that is shown once', async () => {
    await page.getByRole('link', { name: 'Agents' }).click();
    await heading(page, 'Agents');
    await page.getByRole('button', { name: 'Add an entry' }).click();
    await page.getByLabel('Allowed primary server').fill('*.contoso.example');
    await page.getByLabel('Authorization tag').fill('tag-a');
    await page.getByRole('dialog').getByRole('button', { name: 'Add' }).click();
    await page.getByRole('table', { name: 'Authorization entries' }).waitFor();
    await page.getByRole('button', { name: 'Enrol an agent' }).click();
    await page.getByLabel('Host').fill('hv02.contoso.example');
    await page.getByRole('button', { name: 'Make a token' }).click();
    const command = await page.getByLabel('Command').innerText();
    expect(command).toMatch(/^echo '\S+' \| holdfast agent enrol --data \S+ --fqdn hv02\.contoso\.example --token-file -/);
    await picture(page, 'agent-token');
    await page.getByRole('button', { name: 'I have it' }).click();
    const all = await text(page);
    expect(all).toMatch(/hv01\.contoso\.example .* Connected/);
    expect(all).not.toContain(/'(\S+)'/.exec(command)![1]!);
    await picture(page, 'agents');
  });

  it('shows the audit log, and of it what one asks for', async () => {
    await page.getByRole('link', { name: 'Audit log' }).click();
    await heading(page, 'Audit log');
    await page.getByText('Failover started').first().waitFor();
    await picture(page, 'audit');
    await page.getByLabel('Outcome').selectOption('refused');
    await page.getByText('Failover started').first().waitFor({ state: 'detached' });
    expect(await text(page)).toContain('hv09.fabrikam.example');
  });

  it('keeps what it knows while the api does not answer, and says so', async () => {
    await page.getByRole('link', { name: 'Overview' }).first().click();
    await page.getByRole('link', { name: 'sql-01' }).first().waitFor();
    const before = tab.complaints.length;
    await page.route('**/api/v1/**', (route) => route.abort());
    await page.getByText('What you see may be out of date').first().waitFor();
    expect(await page.getByRole('link', { name: 'sql-01' }).first().isVisible()).toBe(true);
    await page.unroute('**/api/v1/**');
    await page.getByText('What you see may be out of date').first().waitFor({ state: 'detached' });
    tab.complaints.splice(before);
  });

  it('says what is not there, in words', async () => {
    const before = tab.complaints.length;
    await page.goto(`${url}/vms/00000000-0000-7000-8000-000000000000`);
    expect(await page.getByRole('alert').innerText()).toMatch(/It may have been removed meanwhile\.[^]*not-found/);
    tab.complaints.splice(before);
    await page.goto(`${url}/nowhere`);
    await page.getByText('There is nothing here').waitFor();
  });

  it('never made the browser complain, and lets people out', async () => {
    expect(tab.complaints).toEqual([]);
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByRole('button', { name: 'Sign in' }).waitFor();
  });
});

describe('the dashboard of the provider', () => {
  let tab: Tab;
  let page: Page;

  beforeAll(async () => {
    tab = await openTab(browser);
    page = tab.page;
    await page.goto(url);
    await signIn(page, { email: FIRST_OPERATOR });
  });
  afterAll(() => tab.context.close());

  const go = async (link: string): Promise<void> => {
    await page.getByRole('navigation').getByRole('link', { name: link }).click();
    await heading(page, link);
  };

  it('shows the platform and its alarms', async () => {
    await heading(page, 'Overview');
    await page.getByText('The replica node is silent.').waitFor();
    const all = await text(page);
    expect(all).toContain('1 of 2 connected');
    await picture(page, 'operator-overview');
  });

  it('shows tenants, and takes on a new one with its admin', async () => {
    await go('Tenants');
    await page.getByRole('button', { name: 'Add a tenant' }).click();
    await page.getByLabel('Name').fill('Northwind Traders');
    await page.getByLabel('Organisation for sign-in').fill('northwind');
    await page.getByRole('dialog').getByRole('button', { name: 'Add' }).click();
    await page.getByRole('button', { name: 'Add an admin of Northwind Traders' }).click();
    await page.getByLabel('Name').fill('Nora');
    await page.getByLabel('E-mail').fill('nora@northwind.test');
    await page.getByLabel('First password').fill(PASSWORD);
    await page.getByRole('dialog').getByRole('button', { name: 'Add' }).click();
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    await picture(page, 'operator-tenants');
  });

  it('shows replica nodes, receivers and jobs', async () => {
    await go('Replica nodes');
    await page.getByText('node-2.provider.test').waitFor();
    expect(await text(page)).toMatch(/24\.0 GiB|23\.9 GiB/);
    await picture(page, 'operator-nodes');
    await go('Receivers');
    await page.getByText('17.0 GiB').waitFor();
    await picture(page, 'operator-receivers');
    await go('Jobs');
    await page.getByText('Failover run').first().waitFor();
    await picture(page, 'operator-jobs');
  });

  it('never made the browser complain', () => {
    expect(tab.complaints).toEqual([]);
  });
});
