import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { resolve } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { CodedError } from '#libs/kernel';
import { enrol, type EnrolOptions } from '#libs/primary';

interface EnrolFlags {
  readonly data: string;
  readonly token?: string;
  readonly tokenFile?: string;
  readonly api?: string;
  readonly tenantKey?: string;
  readonly fqdn: string;
  readonly qmp: string[];
  readonly scratch?: string;
  readonly scratchLimit?: number;
  readonly bandwidth?: number;
  readonly transfers?: number;
  readonly workers?: number;
  readonly snapshotHook?: string;
  readonly again?: true;
}

export function addEnrol(program: Command, version: string, say: (text: string) => void): void {
  program
    .command('enrol')
    .description('Give this host an identity, once, with a one-time enrolment token.')
    .requiredOption('--data <dir>', 'directory for identity, keys and state')
    .option('--token <text>', 'the enrolment token; better in a file, since others can see arguments')
    .option('--token-file <file>', 'a file with the enrolment token; - is the standard input')
    .option('--api <url>', 'where to enrol (default: as the token says)')
    .option(
      '--tenant-key <sha256>',
      'where you hold the key yourself: its SHA-256, as `holdfast keys init` and `keys show` name it; any other is refused, whatever the token says',
      hash,
    )
    .option('--again', 'replace the identity that is in the directory, and keep its VMs, keys and settings: when the provider asks for it')
    .option('--fqdn <name>', 'this host by its fully qualified name', hostname().toLowerCase())
    .option('--qmp <path>', 'a QMP socket, or a directory of *.qmp sockets; may be repeated', append, [])
    .option('--scratch <dir>', 'where snapshots keep what guests overwrite (default: <data>/scratch)')
    .option('--scratch-limit <bytes>', 'for each disk of a snapshot', whole)
    .option('--bandwidth <bytes-per-second>', 'for all uploads together', whole)
    .option('--transfers <count>', 'VMs that replicate at the same time', whole)
    .option('--workers <count>', 'threads that compress and seal', whole)
    .option('--snapshot-hook <program>', 'runs while the snapshot of a recovery point exists')
    .action(async (flags: EnrolFlags) => {
      const config = await enrol({
        token: await tokenOf(flags),
        apiUrl: flags.api,
        fqdn: flags.fqdn,
        dataDir: resolve(flags.data),
        version,
        tenantKeySha256: flags.tenantKey,
        isAgain: flags.again === true,
        settings: settingsOf(flags),
      });
      say(`enrolled as agent ${config.agentId} of tenant ${config.tenantId}, ${config.fqdn}, tag ${config.tag}`);
    });
}

async function tokenOf({ token, tokenFile }: EnrolFlags): Promise<string> {
  if ((token === undefined) === (tokenFile === undefined)) {
    throw new CodedError('agent.token-missing', 'invalid', 'give the enrolment token by --token-file or --token');
  }
  if (token !== undefined) return token;
  try {
    return await readFile(tokenFile === '-' ? '/dev/stdin' : tokenFile!, 'utf8');
  } catch (error) {
    throw new CodedError('agent.token-unreadable', 'invalid', `the token file ${tokenFile} cannot be read`, {}, error);
  }
}

function settingsOf(flags: EnrolFlags): NonNullable<EnrolOptions['settings']> {
  return {
    ...(flags.again === true && flags.qmp.length === 0 ? {} : { qmpSockets: flags.qmp.map((path) => resolve(path)) }),
    ...(flags.scratch === undefined ? {} : { scratchDirectory: resolve(flags.scratch) }),
    ...(flags.scratchLimit === undefined ? {} : { scratchLimitBytes: flags.scratchLimit }),
    ...(flags.bandwidth === undefined ? {} : { bandwidthBytesPerSecond: flags.bandwidth }),
    ...(flags.transfers === undefined ? {} : { transfersMax: flags.transfers }),
    ...(flags.workers === undefined ? {} : { segmentWorkers: flags.workers }),
    ...(flags.snapshotHook === undefined ? {} : { snapshotHook: { command: resolve(flags.snapshotHook), args: [], timeoutMs: 60_000 } }),
  };
}

function append(value: string, former: string[]): string[] {
  return [...former, value];
}

function hash(text: string): string {
  const sha256 = text.toLowerCase();
  if (!/^[0-9a-f]{64}$/.test(sha256)) throw new InvalidArgumentError('64 hex digits');
  return sha256;
}

function whole(text: string): number {
  if (!/^[1-9][0-9]{0,14}$/.test(text)) throw new InvalidArgumentError('a whole number above 0');
  return Number(text);
}
