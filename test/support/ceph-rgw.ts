import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { randomBytes, randomInt, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { accessSync, constants, createWriteStream } from 'node:fs';
import { appendFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import {
  CreateBucketCommand,
  PutBucketVersioningCommand,
  PutObjectLockConfigurationCommand,
  S3Client,
  type ObjectLockRetentionMode,
} from '@aws-sdk/client-s3';
import { Redacted } from '#libs/kernel';
import type { S3Access } from '#libs/object-store';

const run = promisify(execFile);

export interface BucketOptions {
  readonly isVersioned?: boolean;
  /** Object Lock, for which a bucket is versioned too: with a default rule of one day in that mode, or `true` for none. */
  readonly objectLock?: ObjectLockRetentionMode | true;
}

export interface S3Server {
  readonly access: S3Access & { endpoint: string };
  makeBucket(options?: BucketOptions): Promise<string>;
  stop(): Promise<void>;
}

/**
 * A real S3 server: the one that HOLDFAST_S3_ENDPOINT, HOLDFAST_S3_ACCESS_KEY and HOLDFAST_S3_SECRET_KEY name, else a Ceph of one monitor,
 * one OSD on a file and one RADOS gateway, on free ports and in a temporary directory, ready in about 15 seconds. Its daemons die with this
 * process, however that ends.
 */
export async function startS3Server(): Promise<S3Server> {
  const { HOLDFAST_S3_ENDPOINT: endpoint, HOLDFAST_S3_ACCESS_KEY: key, HOLDFAST_S3_SECRET_KEY: secret } = process.env;
  if (endpoint !== undefined) return serverAt(endpoint, key ?? '', secret ?? '', async () => {});
  const ceph = new OneNodeCeph(await mkdtemp(join(tmpdir(), 'holdfast-ceph-')));
  try {
    return await ceph.start();
  } catch (error) {
    await ceph.stop();
    throw error;
  }
}

/** A client that knows nothing of the product, to see and to do what it cannot. */
export function rawS3Client({ endpoint, accessKeyId, secretAccessKey }: S3Server['access']): S3Client {
  const credentials = { accessKeyId, secretAccessKey: secretAccessKey.reveal() };
  return new S3Client({ endpoint, forcePathStyle: true, region: 'us-east-1', credentials, requestChecksumCalculation: 'WHEN_REQUIRED' });
}

function serverAt(endpoint: string, accessKeyId: string, secretAccessKey: string, stop: () => Promise<void>): S3Server {
  const access = { endpoint, accessKeyId, secretAccessKey: new Redacted(secretAccessKey), forcePathStyle: true, region: 'us-east-1' };
  const makeBucket = async ({ isVersioned = false, objectLock }: BucketOptions = {}): Promise<string> => {
    const client = rawS3Client(access);
    const Bucket = `holdfast-${randomUUID()}`;
    await client.send(new CreateBucketCommand({ Bucket, ...(objectLock === undefined ? {} : { ObjectLockEnabledForBucket: true }) }));
    if (isVersioned) await client.send(new PutBucketVersioningCommand({ Bucket, VersioningConfiguration: { Status: 'Enabled' } }));
    if (objectLock !== undefined && objectLock !== true) {
      const Rule = { DefaultRetention: { Mode: objectLock, Days: 1 } };
      const ObjectLockConfiguration = { ObjectLockEnabled: 'Enabled' as const, Rule };
      await client.send(new PutObjectLockConfigurationCommand({ Bucket, ObjectLockConfiguration }));
    }
    client.destroy();
    return Bucket;
  };
  return { access, makeBucket, stop };
}

class OneNodeCeph {
  private readonly daemons: ChildProcess[] = [];

  constructor(private readonly directory: string) {}

  async start(): Promise<S3Server> {
    requirePrograms(['ceph', 'ceph-authtool', 'monmaptool', 'ceph-mon', 'ceph-osd', 'radosgw', 'radosgw-admin']);
    const [monitorPort, gatewayPort] = [await freePort(), await freePort()];
    const secretKey = randomBytes(16).toString('hex');
    await this.configure(monitorPort, gatewayPort);
    await this.startMonitor(monitorPort);
    await this.startOsd();
    this.daemon('radosgw', ['-n', 'client.rgw']);
    const user = ['user', 'create', '--uid=holdfast', '--display-name=holdfast', '--access-key=holdfast', `--secret-key=${secretKey}`];
    await this.tool('radosgw-admin', ['-n', 'client.rgw', ...user]);
    const endpoint = `http://127.0.0.1:${gatewayPort}`;
    await until('the RADOS gateway to answer', async () => (await fetch(endpoint)).ok);
    return serverAt(endpoint, 'holdfast', secretKey, () => this.stop());
  }

  /** The OSD goes before the monitor, which it would wait for. */
  async stop(): Promise<void> {
    for (const daemon of this.daemons.reverse()) {
      if (daemon.exitCode !== null || daemon.signalCode !== null) continue;
      daemon.kill('SIGKILL');
      await once(daemon, 'exit');
    }
    await rm(this.directory, { recursive: true, force: true });
  }

  private async configure(monitorPort: number, gatewayPort: number): Promise<void> {
    const fsid = randomUUID();
    const osdPort = randomInt(20_000, 30_000);
    await mkdir(this.path('mon'));
    await mkdir(this.path('osd'));
    await writeFile(this.path('ceph.conf'), configuration(this.directory, fsid, monitorPort, gatewayPort, osdPort));
    await this.tool('ceph-authtool', ['--create-keyring', this.path('mon.keyring'), '--gen-key', '-n', 'mon.', '--cap', 'mon', 'allow *']);
    const caps = ['mon', 'osd', 'mgr'].flatMap((of) => ['--cap', of, 'allow *']);
    await this.tool('ceph-authtool', ['--create-keyring', this.path('admin.keyring'), '--gen-key', '-n', 'client.admin', ...caps]);
    await this.tool('ceph-authtool', [this.path('mon.keyring'), '--import-keyring', this.path('admin.keyring')]);
    const address = `[v2:127.0.0.1:${monitorPort}]`;
    await this.tool('monmaptool', ['--create', '--addv', 'a', address, '--fsid', fsid, '--clobber', this.path('monmap')]);
  }

  private async startMonitor(port: number): Promise<void> {
    await this.tool('ceph-mon', ['--mkfs', '-i', 'a', '--monmap', this.path('monmap'), '--keyring', this.path('mon.keyring')]);
    this.daemon('ceph-mon', ['-i', 'a']);
    await until(`the Ceph monitor on port ${port}`, () => this.ceph('mon', 'stat').then(() => true));
  }

  private async startOsd(): Promise<void> {
    const uuid = randomUUID();
    await this.ceph('osd', 'create', uuid);
    const osdCaps = ['mon', 'allow profile osd', 'mgr', 'allow profile osd', 'osd', 'allow *'];
    await writeFile(this.path('osd/keyring'), await this.ceph('auth', 'get-or-create', 'osd.0', ...osdCaps));
    await writeFile(this.path('rgw.keyring'), await this.ceph('auth', 'get-or-create', 'client.rgw', 'mon', 'allow *', 'osd', 'allow *'));
    await this.tool('ceph-osd', ['-i', '0', '--mkfs', '--osd-uuid', uuid]);
    this.daemon('ceph-osd', ['-i', '0']);
    await this.ceph('osd', 'crush', 'add', 'osd.0', '1.0', 'root=default', 'host=localhost');
    await until('the Ceph OSD', async () => (await this.ceph('osd', 'stat')).includes('1 up'));
  }

  /** `setpriv --pdeathsig` makes the kernel end the daemon when this process ends, also by kill -9. */
  private daemon(program: string, args: string[]): void {
    const command = ['--pdeathsig', 'KILL', program, ...args, '-c', this.path('ceph.conf'), '-f'];
    const child = spawn('setpriv', command, { stdio: ['ignore', 'ignore', 'pipe'], cwd: this.directory });
    child.stderr.pipe(createWriteStream(this.path(`${program}.err`)));
    child.on('error', (error) => void appendFile(this.path(`${program}.err`), error.message));
    this.daemons.push(child);
  }

  private ceph(...args: string[]): Promise<string> {
    return this.tool('ceph', args);
  }

  private async tool(program: string, args: string[]): Promise<string> {
    const env = { ...process.env, CEPH_CONF: this.path('ceph.conf') };
    const { stdout } = await run(program, args, { env, timeout: 60_000, cwd: this.directory });
    return stdout;
  }

  private path(name: string): string {
    return join(this.directory, name);
  }
}

function requirePrograms(programs: string[]): void {
  const directories = (process.env['PATH'] ?? '').split(':');
  const isThere = (program: string): boolean => directories.some((directory) => isExecutable(join(directory, program)));
  const missing = programs.filter((program) => !isThere(program));
  if (missing.length === 0) return;
  throw new Error(
    `the tests of the S3 store need a real server, but ${missing.join(', ')} are missing: install the Debian packages radosgw, ceph-mon, ` +
      'ceph-osd and ceph-common, or name a server in HOLDFAST_S3_ENDPOINT, HOLDFAST_S3_ACCESS_KEY and HOLDFAST_S3_SECRET_KEY',
  );
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function until(what: string, check: () => Promise<boolean>): Promise<void> {
  const deadlineMs = performance.now() + 60_000;
  let last: unknown;
  while (performance.now() < deadlineMs) {
    const isDone = await check().catch((error: unknown) => {
      last = error;
      return false;
    });
    if (isDone) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`waited in vain for ${what}`, { cause: last });
}

function configuration(directory: string, fsid: string, monitorPort: number, gatewayPort: number, osdPort: number): string {
  return `[global]
fsid = ${fsid}
mon host = v2:127.0.0.1:${monitorPort}
public addr = 127.0.0.1
ms bind port min = ${osdPort}
ms bind port max = ${osdPort + 200}
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
auth allow insecure global id reclaim = true
osd pool default size = 1
osd pool default min size = 1
mon allow pool size one = true
osd pool default pg num = 8
osd pool default pgp num = 8
osd crush chooseleaf type = 0
mon warn on pool no redundancy = false
run dir = ${directory}
admin socket = ${directory}/$name.asok
log file = ${directory}/$name.log
crash dir = ${directory}
keyring = ${directory}/admin.keyring
osd objectstore = bluestore
bluestore block size = 10737418240
bluestore fsck on mount = false
osd memory target = 939524096
mon data avail crit = 1
mon data avail warn = 1
[mon.a]
mon data = ${directory}/mon
mon addr = v2:127.0.0.1:${monitorPort}
[osd.0]
osd data = ${directory}/osd
keyring = ${directory}/osd/keyring
[client.rgw]
keyring = ${directory}/rgw.keyring
rgw frontends = beast endpoint=127.0.0.1:${gatewayPort} tcp_nodelay=1
rgw thread pool size = 32
`;
}
