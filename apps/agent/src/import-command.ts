import { resolve } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { CodedError, JsonLinesLogger, MIB } from '#libs/kernel';
import { type ImportRecord, Imports, StateDirectory } from '#libs/primary';

interface ImportFlags {
  readonly data: string;
  readonly name?: string;
  readonly disk: string[][];
  readonly format?: 'raw' | 'vhd' | 'vhdx' | 'qcow2';
  readonly instants?: Date[];
  readonly cpus: number;
  readonly memory: number;
  readonly firmware: ImportRecord['firmware'];
  readonly bus: ImportRecord['bus'];
  readonly forget?: string;
}

const EXPLAIN = `
The files become a VM of this host, which is off and never runs here. Protect it as any other:

  holdfast agent import --data /var/lib/holdfast-agent --name old-mail --disk mail.vhdx,mail-1.avhdx,mail-2.avhdx
  holdfast protect old-mail

Each file of a disk is one recovery point, in the order given: here three. A differencing VHD or VHDX, or a qcow2 with a backing
file, tells what changed; any other file is compared with the one before it, so full copies of several days can be given as well.
Several disks: --disk for each, the first one boots. A disk with fewer files than another stays as its last one.

The points have the files' times unless --instants says others. Retention counts a point from when it arrives at the provider, not
from when its files were made: set the policy, or pin the points, before the first hour is over. Keep the files as they are until
the last point is there (\`holdfast points list old-mail\`). Then nothing more comes, and \`holdfast suspend old-mail\` says so, lest its
health is taken for a fault. --forget old-mail takes the VM out of this host's inventory; its points stay.`;

export function addImport(program: Command, say: (text: string) => void): void {
  program
    .command('import')
    .description('Make recovery points out of disk files: raw, qcow2, VHD, VHDX, with differencing children.')
    .requiredOption('--data <dir>', 'the directory of the agent, which may run')
    .option('--name <name>', 'what the VM is called')
    .option('--disk <file[,child…]>', 'a disk: its file, then its later states in order; may be repeated', appendFiles, [])
    .addOption(new Option('--format <format>', 'of all files (default: what each looks like)').choices(['raw', 'qcow2', 'vhd', 'vhdx']))
    .option('--instants <time[,time…]>', 'of each point, ISO 8601 (default: when its files were last written)', instants)
    .option('--cpus <count>', 'of the VM when it runs', wholeUpTo(1024), 2)
    .option('--memory <MiB>', 'of the VM when it runs', wholeUpTo(16_777_216), 2048)
    .addOption(new Option('--firmware <kind>', 'how its first disk boots').choices(['bios', 'uefi']).default('bios'))
    .addOption(new Option('--bus <bus>', 'what its disks hang on').choices(['virtio', 'scsi', 'sata', 'ide', 'nvme']).default('sata'))
    .option('--forget <name>', 'take an import out of the inventory instead')
    .addHelpText('after', EXPLAIN)
    .action(async (flags: ImportFlags) => {
      const logger = new JsonLinesLogger({ process: 'import' }, (line) => void process.stderr.write(line), new Set(['error', 'warn']));
      const imports = new Imports(await StateDirectory.open(resolve(flags.data)), logger);
      if (flags.forget !== undefined) {
        await imports.forget(flags.forget);
        say(`${flags.forget} is forgotten; its files and its recovery points stay.`);
        return;
      }
      describe(await add(imports, flags), say);
    });
}

function add(imports: Imports, { name, disk, format, instants: given, cpus, memory, firmware, bus }: ImportFlags): Promise<ImportRecord> {
  if (name === undefined || disk.length === 0)
    throw new CodedError('import.what', 'invalid', 'say --name and at least one --disk, or --forget NAME');
  return imports.add({
    name,
    disks: disk,
    ...(format === undefined ? {} : { format }),
    ...(given === undefined ? {} : { instants: given }),
    cpuCount: cpus,
    memoryBytes: memory * MIB,
    firmware,
    bus,
  });
}

function describe({ name, disks, instants: times }: ImportRecord, say: (text: string) => void): void {
  say(`${name}: ${times.length} ${times.length === 1 ? 'point' : 'points'}, ${disks.length} ${disks.length === 1 ? 'disk' : 'disks'}`);
  for (const [at, time] of times.entries()) {
    const files = disks.map(({ files: own }) => own[at]).filter((file) => file !== undefined);
    say(`  ${time}  ${files.map(({ path, format }) => `${path} (${format})`).join(', ')}`);
  }
  say(`The agent finds it within seconds. Then: holdfast protect ${name}`);
}

function appendFiles(value: string, former: string[][]): string[][] {
  const files = value.split(',');
  if (files.some((file) => file === '')) throw new InvalidArgumentError('files, separated by commas');
  return [...former, files];
}

function instants(text: string): Date[] {
  return text.split(',').map((one) => {
    const instant = new Date(one);
    if (Number.isNaN(instant.getTime())) throw new InvalidArgumentError(`${one} is no instant, as 2026-03-01T22:00:00Z is`);
    return instant;
  });
}

function wholeUpTo(most: number): (text: string) => number {
  return (text) => {
    if (!/^[1-9][0-9]{0,8}$/.test(text) || Number(text) > most) throw new InvalidArgumentError(`a whole number from 1 to ${most}`);
    return Number(text);
  };
}
