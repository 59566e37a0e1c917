import type { Command } from 'commander';
import type { HoldfastClient } from '#libs/client';
import { exportFormat } from '#libs/contracts/common';
import type { ExportView } from '#libs/contracts/http';
import { CodedError, formatBytes } from '#libs/kernel';
import { addCommand, type Answer, type Call, choice, option, requiredOption, type Surroundings } from '../define-command.js';
import { download } from '../download.js';
import { findPointId } from '../find.js';
import { startProgress } from '../output/progress.js';
import { wholeNumber } from '../parse.js';

interface ExportFlags {
  readonly disk: number;
  readonly format: ExportView['format'];
  readonly base?: string;
  readonly resume?: string;
  readonly damaged?: true;
  readonly output: string;
}

const POLL_INTERVAL_MS = 500;

export function addExport(program: Command, surroundings: Surroundings): void {
  addCommand<ExportFlags>(program, surroundings, {
    usage: 'export [point]',
    does: "Save a recovery point's disk as a file: raw, VHD, VHDX or qcow2.",
    explain:
      'The file is made at the provider and then fetched. A fetch that broke off is taken up by --resume with the id that was shown.\n' +
      'A fixed VHD or VHDX is as long as the disk; the others but raw leave out what holds no data.\n' +
      'With --base the result is a differencing VHD or VHDX on top of an earlier export, of the same kind, of the same disk.',
    mirrors: 'Export-VM, for one disk of one recovery point',
    examples: ['export web-1 --format vhdx -o web-1.vhdx', 'export 019f… --disk 1 --format vhd --base 019e… -o changes.vhd'],
    options: [
      option('--disk <number>', 'which disk: see `holdfast vms show`', wholeNumber(0, 65_534)).default(0),
      choice('--format <format>', 'of the file', exportFormat.options).default('vhdx'),
      option('--base <export>', 'an earlier export of this disk as VHD or VHDX'),
      option('--damaged', 'take the point though a part of it is damaged in the store'),
      option('--resume <export>', 'go on with fetching this export'),
      requiredOption('-o, --output <file>', 'where to'),
    ],
    run: async (call, meant) => {
      const client = await call.client();
      const wanted = await request(call, client, meant);
      const ready = await whenReady(call, client, wanted);
      return fetchFile(call, client, ready);
    },
  });
}

async function request(call: Call<ExportFlags>, client: HoldfastClient, meant: string | undefined): Promise<ExportView> {
  const { disk, format, base, resume, damaged = false } = call.flags;
  if ((meant === undefined) === (resume === undefined))
    throw new CodedError('cli.export-what', 'invalid', 'name a recovery point or a VM, or else --resume an export');
  if (resume !== undefined) return client.exports.get(resume);
  const pointId = await findPointId(client, meant!);
  return client.exports.create(pointId, {
    diskOrdinal: disk,
    format,
    allowDamaged: damaged,
    ...(base === undefined ? {} : { baseExportId: base }),
  });
}

export type ReadyExport = ExportView & { readonly sizeBytes: number };

/** Waits until the file is made. Throws why it is not. */
export async function whenReady(call: Pick<Call, 'terminal' | 'sleep'>, client: HoldfastClient, wanted: ExportView): Promise<ReadyExport> {
  call.terminal.tell(`Export ${wanted.id}: the provider makes ${wanted.fileName} …`);
  for (let view = wanted; ; view = await client.exports.get(wanted.id)) {
    if (view.state === 'Failed')
      throw new CodedError(view.failureCode ?? 'export.failed', 'conflict', view.failureMessage ?? 'the export failed');
    if (view.state === 'Completed' && view.sizeBytes !== null) return { ...view, sizeBytes: view.sizeBytes };
    await call.sleep(POLL_INTERVAL_MS);
  }
}

async function fetchFile(call: Call<ExportFlags>, client: HoldfastClient, view: ReadyExport): Promise<Answer> {
  const { output: file } = call.flags;
  const { id, sizeBytes } = view;
  const progress = startProgress(call.terminal.progress, 'Fetching', sizeBytes);
  try {
    const { sha256 } = await download({
      file,
      id,
      sizeBytes,
      fetch: (fromByte) => client.exports.contentFrom(id, fromByte, { signal: call.terminal.interrupted }),
      onProgress: (doneBytes) => progress.reach(doneBytes),
    });
    progress.end();
    const text = call.paper.facts([
      ['File', file],
      ['Size', `${formatBytes(sizeBytes)}, ${sizeBytes} bytes`],
      ['SHA-256', sha256],
      ['Export', `${id}, for --base of the next one`],
    ]);
    return { data: { ...view, file, sha256 }, text };
  } catch (error) {
    progress.end();
    call.terminal.tell(`Go on later with: holdfast export --resume ${id} -o ${file}`);
    throw error;
  }
}
