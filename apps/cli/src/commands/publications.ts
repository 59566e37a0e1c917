import type { Command } from 'commander';
import type { HoldfastClient } from '#libs/client';
import { publicationFormat, type PublicationFormat, type PublicationPoints } from '#libs/contracts/common';
import type { PublicationView, PublishedFileView } from '#libs/contracts/http';
import { CodedError, formatBytes } from '#libs/kernel';
import { addCommand, addNoun, type Call, choice, option, type Surroundings } from '../define-command.js';
import { findRelationship, pick } from '../find.js';
import type { Column, Paper } from '../output/paper.js';
import { startProgress } from '../output/progress.js';
import { exactTime, quiet, state } from '../output/words.js';
import { chosenPoints, wholeNumber } from '../parse.js';
import { listing } from './listing.js';
import { spanOf } from './policy.js';

interface PublishFlags {
  readonly format: PublicationFormat;
  readonly disk?: number;
  readonly points: PublicationPoints;
  readonly follow?: true;
}

const POLL_INTERVAL_MS = 500;

const pointsOf = ({ points }: PublicationView): string => {
  if (points.kind === 'all') return 'all';
  if (points.kind === 'newest') return `newest ${points.count}`;
  return `one each ${spanOf(points.everyMinutes)} for ${spanOf(points.forMinutes)}`;
};

const PUBLICATIONS: readonly Column<PublicationView>[] = [
  ['VM', ({ vmName }) => vmName],
  ['FORMAT', ({ format }) => format],
  ['DISK', ({ diskOrdinal }) => diskOrdinal ?? 'all'],
  ['POINTS', pointsOf],
  ['FOLLOWS', ({ follow }) => (follow ? 'yes' : 'no')],
  ['STATE', (view) => state(view.state)],
  ['FILES', ({ fileCount }) => fileCount],
  ['WAITING', ({ waitingCount }) => waitingCount],
  ['STORED', ({ storedBytes }) => formatBytes(storedBytes)],
  ['TROUBLE', ({ failureCode }) => (failureCode === null ? '' : { text: failureCode, tone: 'bad' })],
  ['ID', ({ id }) => quiet(id)],
];

const FILES: readonly Column<PublishedFileView>[] = [
  ['INSTANT', ({ instant }) => exactTime(instant)],
  ['FILE', ({ file }) => file],
  ['STANDS ON', ({ parent }) => parent ?? 'itself'],
  ['SIZE', ({ sizeBytes }) => (sizeBytes === null ? null : formatBytes(sizeBytes))],
  ['STATE', (file) => state(file.state)],
  ['SHA-256', ({ sha256 }) => quiet(sha256 ?? '')],
];

export function addPublishing(chain: Command, surroundings: Surroundings): void {
  addCommand<PublishFlags>(chain, surroundings, {
    usage: 'publish <vm>',
    does: 'Put recovery points as VHD or VHDX files into your storage location, in the clear.',
    explain:
      'The oldest point becomes a base, each later one a differencing file on the one before; a listing tells which. Any S3 client can fetch them, and any\n' +
      'hypervisor opens them where they lie side by side. With --follow they keep up with the points until it is stopped.\n' +
      'Asked again for the same format and disk, it goes on where it was, with what is wanted now.',
    mirrors: 'Export-VMSnapshot, for all of them',
    examples: ['chain publish web-1 --format vhdx', 'chain publish web-1 --format vhd --disk 0 --points tier:1d:30d --follow'],
    options: [
      choice('--format <format>', 'of the files', publicationFormat.options).default('vhdx'),
      option('--disk <number>', 'one disk alone: see `holdfast vms show`', wholeNumber(0, 65_534)),
      option('--points <which>', 'all, newest:7, or tier:1d:30d for one each day of thirty', chosenPoints).default({ kind: 'all' }, 'all'),
      option('--follow', 'keep up with points that come and go'),
    ],
    run: async (call, meant) => {
      const client = await call.client();
      const { id } = await findRelationship(client, meant!);
      const { format, disk, points, follow = false } = call.flags;
      const asked = await client.publications.publish(id, { format, points, follow, ...(disk === undefined ? {} : { diskOrdinal: disk }) });
      const view = await whenPublished(call, client, asked);
      return { data: view, text: publicationText(call.paper, view) };
    },
  });
  const publications = addNoun(chain, 'publications', 'What is published, and its files.');
  addCommand(publications, surroundings, {
    usage: 'list',
    isDefault: true,
    does: 'All publications.',
    examples: ['chain publications list'],
    run: async (call) =>
      listing(
        call,
        await (await call.client()).publications.list(),
        PUBLICATIONS,
        'Nothing is published: `holdfast chain publish` does it.',
      ),
  });
  addCommand(publications, surroundings, {
    usage: 'show <publication>',
    does: 'One publication with its files.',
    examples: ['chain publications show web-1', 'chain publications show 0198d6c3-… --json | jq -r .files[].file'],
    run: async (call, meant) => {
      const client = await call.client();
      const view = await findPublication(client, meant!);
      const { items } = await client.publications.files(view.id);
      const files = call.paper.table(items, FILES, 'There is no file yet.');
      return { data: { ...view, files: items }, text: `${publicationText(call.paper, view)}\n\n${files}` };
    },
  });
  addCommand(publications, surroundings, {
    usage: 'stop <publication>',
    does: 'Leave the files as they are from now on.',
    examples: ['chain publications stop web-1'],
    run: async (call, meant) => {
      const client = await call.client();
      const view = await client.publications.stop((await findPublication(client, meant!)).id);
      return { data: view, text: `The ${view.fileCount} files of ${view.vmName} stay as they are.` };
    },
  });
  addCommand(publications, surroundings, {
    usage: 'delete <publication>',
    does: 'Take all files of a publication out of the storage location.',
    examples: ['chain publications delete web-1 --yes'],
    isDestructive: true,
    run: async (call, meant) => {
      const client = await call.client();
      const view = await findPublication(client, meant!);
      await call.confirm(`The ${view.fileCount} published files of ${view.vmName} are deleted. Its recovery points stay.`);
      const deleted = await client.publications.delete(view.id);
      return { data: deleted, text: 'The files are being deleted.' };
    },
  });
}

/** By its id, or the only one of a VM. */
async function findPublication(client: HoldfastClient, meant: string): Promise<PublicationView> {
  const { items } = await client.publications.list();
  const kind = { one: 'publication', many: 'publications', code: 'publication', list: 'chain publications list' };
  return pick({ ...kind, nameOf: ({ vmName }) => vmName, idsOf: ({ id }) => [id] }, items, meant);
}

/** Each file with a bar of its own, until nothing waits any more. */
async function whenPublished(call: Call, client: HoldfastClient, asked: PublicationView): Promise<PublicationView> {
  const out = call.terminal.progress;
  let bar: { readonly file: number; readonly progress: ReturnType<typeof startProgress> } | undefined;
  call.terminal.tell(`Publication ${asked.id}: it goes on at the provider also when nobody waits here.`);
  try {
    for (let view = asked; ; view = await client.publications.get(asked.id)) {
      if (view.state === 'Failed')
        throw new CodedError(view.failureCode ?? 'publication.failed', 'conflict', view.failureMessage ?? 'the publication failed');
      if (view.state !== 'Active' || (view.waitingCount === 0 && view.index !== null)) return view;
      const file = view.fileCount + 1;
      if (bar !== undefined && bar.file !== file) {
        bar.progress.end();
        bar = undefined;
      }
      if (view.totalBytes !== null && view.totalBytes > 0) {
        bar ??= { file, progress: startProgress(out, `File ${file} of ${view.fileCount + (view.waitingCount ?? 1)}`, view.totalBytes) };
        bar.progress.reach(view.doneBytes);
      }
      await call.sleep(POLL_INTERVAL_MS);
    }
  } finally {
    bar?.progress.end();
  }
}

function publicationText(paper: Paper, view: PublicationView): string {
  const intermediate = view.intermediateCount === 0 ? '' : `, ${view.intermediateCount} of them only since others stand on them`;
  return paper.facts([
    ['VM', view.vmName],
    ['Format', view.format],
    ['Disk', view.diskOrdinal ?? 'all'],
    ['Points', pointsOf(view)],
    ['Follows', view.follow ? 'yes' : 'no'],
    ['State', state(view.state)],
    ['Trouble', view.failureCode === null ? undefined : { text: `${view.failureCode}: ${view.failureMessage ?? ''}`, tone: 'bad' }],
    ['Files', `${view.fileCount}, ${formatBytes(view.storedBytes)}${intermediate}`],
    ['Waiting', view.waitingCount],
    ['Location', view.location],
    ['Listing', view.index],
    ['Id', quiet(view.id)],
  ]);
}
