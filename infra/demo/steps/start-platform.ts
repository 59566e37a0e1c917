import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { HoldfastClient } from '#libs/client';
import { freePort, startPlatform, type Platform, type SupervisedProcess } from '#libs/supervisor';
import type { Stage } from '../stage.js';
import { UnreliableNetwork } from '../unreliable-network.js';

const run = promisify(execFile);

export interface DemoTenant {
  readonly id: string;
  readonly slug: string;
  readonly login: { readonly tenant: string; readonly email: string; readonly password: string };
  /** Signed in as its admin. */
  readonly client: HoldfastClient;
}

export interface Provider {
  readonly platform: Platform;
  /** Between the agents and the receiver. */
  readonly network: UnreliableNetwork;
  readonly operator: HoldfastClient;
  readonly contoso: DemoTenant;
  readonly fabrikam: DemoTenant;
}

/** What the demo's guest prints when it is up, and each second from then on. */
const GUEST_UP = String.raw`GUEST-UP last1=|\btick \d+ \d+`;

/** The Replication Authorization Tag of contoso's protected VM. */
export const PRODUCTION_TAG = 'contoso-production';
export const TEST_TAG = 'contoso-test';
export const FABRIKAM_TAG = 'fabrikam';
export const PRIMARY_SERVER = 'hv01.contoso.example';

/** Starts every process of the provider and lets two tenants in. */
export async function startProvider(stage: Stage): Promise<Provider> {
  const { narrator, signal, dataDir } = stage;
  const receiverPort = await freePort();
  const network = await UnreliableNetwork.listen(receiverPort);
  stage.cleanup.defer(() => network.close());
  const platform = await startPlatform({
    dataDir,
    fresh: true,
    replicaNodes: 2,
    env: { BOOT_PROOF_PATTERN: GUEST_UP },
    receiverPort,
    receiverAddress: `https://127.0.0.1:${network.port}`,
    signal,
    onProgress: (doing) => narrator.tell(`${doing} …`),
  });
  stage.cleanup.defer(() => platform.stop());
  await mkdir(stage.siteDir, { recursive: true, mode: 0o700 });
  narrator.table(
    ['process', 'state', 'pid'],
    [...platform.processes.values()].map(({ name, state, pid }) => [name, state, pid ?? '-']),
  );

  const operator = new HoldfastClient({ baseUrl: platform.apiUrl });
  await operator.auth.operatorLogIn(platform.secrets.operator);
  const contoso = await addTenant(platform, operator, 'contoso', 'Contoso');
  const fabrikam = await addTenant(platform, operator, 'fabrikam', 'Fabrikam');
  await contoso.client.authorizationEntries.create({ allowedPrimaryServer: PRIMARY_SERVER, tag: PRODUCTION_TAG });
  await contoso.client.authorizationEntries.create({ allowedPrimaryServer: '*.test.contoso.example', tag: TEST_TAG });
  await fabrikam.client.authorizationEntries.create({ allowedPrimaryServer: '*.fabrikam.example', tag: FABRIKAM_TAG });
  narrator.table(
    ['tenant', 'admin', 'allowed primary server', 'Replication Authorization Tag'],
    [
      ['contoso', contoso.login.email, PRIMARY_SERVER, PRODUCTION_TAG],
      ['contoso', contoso.login.email, '*.test.contoso.example', TEST_TAG],
      ['fabrikam', fabrikam.login.email, '*.fabrikam.example', FABRIKAM_TAG],
    ],
  );

  const nodes = await stage.until('both replica nodes report to the provider', async () => {
    const { items } = await operator.operator.replicaNodes();
    return items.filter(({ connected }) => connected).length === 2 ? items : undefined;
  });
  stage.check(
    'two replica nodes are enrolled and connected',
    true,
    nodes.map(({ name, accelerator }) => `${name}: ${accelerator}`).join(', '),
  );
  return { platform, network, operator, contoso, fabrikam };
}

async function addTenant({ apiUrl }: Platform, operator: HoldfastClient, slug: string, name: string): Promise<DemoTenant> {
  const { id } = await operator.operator.createTenant({ slug, name });
  const login = { tenant: slug, email: `admin@${slug}.example`, password: randomBytes(12).toString('base64url') };
  await operator.operator.createUser(id, { email: login.email, name: `Admin of ${name}`, role: 'admin', password: login.password });
  const client = new HoldfastClient({ baseUrl: apiUrl });
  await client.auth.logIn(login);
  return { id, slug, login, client };
}

export interface Agent {
  readonly process: SupervisedProcess;
  readonly agentId: string;
  readonly dataDir: string;
}

export interface AgentOptions {
  readonly fqdn: string;
  readonly tag: string;
  readonly qmpSocketPath: string;
  readonly snapshotHook: string;
  /** Where the compiled files are. */
  readonly distDir: string;
}

/** Enrols an agent by its own command, as a customer would, and starts it as a process of its own. */
export async function startAgent(stage: Stage, { platform, contoso }: Provider, options: AgentOptions): Promise<Agent> {
  const { fqdn, tag, qmpSocketPath, snapshotHook, distDir } = options;
  const dataDir = join(stage.siteDir, 'agent');
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  const { token } = await contoso.client.agents.createEnrolmentToken({ fqdnPattern: fqdn, tag });
  const tokenFile = join(dataDir, 'enrolment-token');
  await writeFile(tokenFile, `${token}\n`, { mode: 0o600 });
  const main = 'apps/agent/src/main.js';
  const settings = ['--fqdn', fqdn, '--qmp', qmpSocketPath, '--snapshot-hook', snapshotHook];
  const { stdout } = await run(
    process.execPath,
    [join(distDir, main), 'enrol', '--data', dataDir, '--token-file', tokenFile, ...settings],
    { signal: stage.signal },
  );
  stage.narrator.tell(`the agent of ${fqdn} ${stdout.trim()}`);
  const agent = await platform.startProcess({ name: 'agent-hv01', main, args: ['run', '--data', dataDir], env: {} });
  return { process: agent, agentId: String(agent.details['agentId']), dataDir };
}
