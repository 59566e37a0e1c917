import type { Command } from 'commander';
import type { HoldfastClient } from '#libs/client';
import type { ChainCheckView, ChainStatView, PointDiffView } from '#libs/contracts/http';
import { CodedError, formatBytes } from '#libs/kernel';
import { addCommand, addNoun, type Call, option, type Surroundings } from '../define-command.js';
import { findPointOf, findRelationship } from '../find.js';
import { bars } from '../output/bars.js';
import type { Column, Paper } from '../output/paper.js';
import { startProgress } from '../output/progress.js';
import { exactTime, quiet, state } from '../output/words.js';
import { addChainRepair } from './chain-repair.js';
import { addPublishing } from './publications.js';

const POLL_INTERVAL_MS = 500;

export function addChain(program: Command, surroundings: Surroundings): void {
  const chain = addNoun(program, 'chain', "A VM's replica chain: its files for others, what it is made of, whether it is whole.");
  addPublishing(chain, surroundings);
  addCommand(chain, surroundings, {
    usage: 'stat <vm>',
    does: 'What the chain of a protected VM is made of, and what it costs.',
    explain:
      'Dead bytes are what no recovery point shows any more; upkeep takes them away. Amplification is all that was written for each byte sent.',
    examples: ['chain stat web-1', 'chain stat web-1 --json | jq .storedBytes'],
    run: async (call, meant) => {
      const client = await call.client();
      const { id } = await findRelationship(client, meant!);
      const stat = await client.chains.stat(id);
      return { data: stat, text: statText(call.paper, stat) };
    },
  });
  addCommand<{ readonly bytes?: true }>(chain, surroundings, {
    usage: 'check <vm>',
    does: 'Whether all of the chain of a protected VM is there and is what it must be.',
    explain:
      'Looks at every manifest, list, index, and at the footer of every segment; with --bytes at every byte. No key is needed for it.\n' +
      'What is damaged is named, with the recovery points that show something of it. Exit code 8 when there is any.',
    examples: ['chain check web-1', 'chain check web-1 --bytes'],
    options: [option('--bytes', 'read all segments whole and compare their hashes')],
    run: async (call, meant) => {
      const client = await call.client();
      const { id } = await findRelationship(client, meant!);
      const check = await whenChecked(call, client, await client.chains.check(id, { bytes: call.flags.bytes === true }));
      return { data: check, text: checkText(call.paper, check), ...failureOf(check) };
    },
  });
  addChainRepair(chain, surroundings);
  addCommand(chain, surroundings, {
    usage: 'diff <vm> <point> <other-point>',
    does: 'What changed on each disk between two recovery points, and where.',
    explain: 'Points are named by their id or their number. Nothing is opened: it comes from indexes alone.',
    examples: ['chain diff web-1 41 57', 'chain diff web-1 0198d6c3-… 0198d6c9-…'],
    run: async (call, meant, one, other) => {
      const client = await call.client();
      const relationship = await findRelationship(client, meant!);
      const [first, second] = await Promise.all([one!, other!].map((point) => findPointOf(client, relationship, point)));
      const diff = await client.chains.diff(first!, second!);
      return { data: diff, text: diffText(call.paper, diff) };
    },
  });
}

async function whenChecked(call: Call, client: HoldfastClient, asked: ChainCheckView): Promise<ChainCheckView> {
  let progress: ReturnType<typeof startProgress> | undefined;
  try {
    for (let view = asked; ; view = await client.chains.checkOf(asked.id)) {
      if (view.totalBytes !== null && view.totalBytes > 0) {
        progress ??= startProgress(call.terminal.progress, 'Checking', view.totalBytes);
        progress.reach(view.checkedBytes);
      }
      if (view.state === 'Completed' || view.state === 'Failed') return view;
      await call.sleep(POLL_INTERVAL_MS);
    }
  } finally {
    progress?.end();
  }
}

function failureOf({ state: ended, failureCode, failureMessage, damage }: ChainCheckView): { failure?: CodedError } {
  if (ended === 'Failed')
    return {
      failure: new CodedError(failureCode ?? 'chain-check.failed', 'unavailable', failureMessage ?? 'the check could not be finished'),
    };
  if (damage.length === 0) return {};
  return {
    failure: new CodedError(
      'chain-check.damaged',
      'corrupt',
      `${damage.length} ${damage.length === 1 ? 'object is' : 'objects are'} damaged`,
    ),
  };
}

const DAMAGE: readonly Column<ChainCheckView['damage'][number]>[] = [
  ['KIND', ({ kind }) => kind],
  ['OBJECT', ({ object }) => object],
  ['DAMAGE', ({ code }) => ({ text: code, tone: 'bad' })],
  ['POINTS', ({ kind, pointIds }) => (kind === 'index' ? 'none: it is done without' : pointIds.length)],
  ['WHICH', ({ pointIds }) => quiet(pointIds.slice(0, 3).join(' ') + (pointIds.length > 3 ? ' …' : ''))],
];

function checkText(paper: Paper, check: ChainCheckView): string {
  const facts = paper.facts([
    ['VM', check.vmName],
    ['Check', state(check.state)],
    ['Objects', check.totalObjects === null ? check.checkedObjects : `${check.checkedObjects} of ${check.totalObjects}`],
    ['Bytes', check.bytes ? formatBytes(check.checkedBytes) : undefined],
  ]);
  const sound = check.bytes ? 'Every byte is what it was when it came.' : 'Everything is there. `--bytes` looks at what is in it, too.';
  return `${facts}\n\n${paper.table(check.damage, DAMAGE, check.state === 'Completed' ? sound : '')}`;
}

const times = (value: number | null): string | null => (value === null ? null : `${value.toFixed(2)} ×`);

function statText(paper: Paper, stat: ChainStatView): string {
  return paper.facts([
    ['VM', stat.vmName],
    ['Points', `${stat.pointCount}, ${stat.pinnedCount} pinned`],
    ['Newest', paper.at(stat.newestPointAt)],
    ['Oldest', paper.at(stat.oldestPointAt)],
    ['Branches', stat.branchCount],
    ['Layers', stat.manifestCount],
    ['Segments', `${stat.segmentCount}, ${formatBytes(stat.storedBytes)}`],
    ['Live', `${formatBytes(stat.liveBytes)}${stat.uncountedCount > 0 ? `, ${stat.uncountedCount} points not counted yet` : ''}`],
    ['Dead', stat.uncountedCount > 0 ? 'not known yet' : formatBytes(stat.deadBytes)],
    ['To be deleted', `${stat.doomedCount} segments, ${formatBytes(stat.doomedBytes)}`],
    ['Replaced', `${stat.replacedCount} segments`],
    ['Indexes', `${stat.indexCount}, ${formatBytes(stat.indexBytes)}`],
    ['Sent', formatBytes(stat.ingestedBytes)],
    ['Amplification', times(stat.amplification)],
    ['Compression', times(stat.compression)],
    ['All points, whole', stat.dedupRatio === null ? null : `${stat.dedupRatio.toFixed(1)} times what is stored`],
    ['Being read', stat.leases.length === 0 ? 'by nobody' : stat.leases.map(({ holder }) => holder).join(', ')],
    ['Upkeep', paper.at(stat.maintainedAt)],
    ['Collected', paper.at(stat.collectedAt)],
  ]);
}

function diffText(paper: Paper, { from, to, disks }: PointDiffView): string {
  const head = `From ${from.sequence} of ${exactTime(from.instant)} to ${to.sequence} of ${exactTime(to.instant)}`;
  const table = paper.table(
    disks,
    [
      ['DISK', ({ ordinal }) => ordinal],
      ['NAME', ({ name }) => name],
      ['SIZE', ({ sizeBytes }) => formatBytes(sizeBytes)],
      ['WRITTEN', ({ writtenBytes }) => formatBytes(writtenBytes)],
      ['NOW ZERO', ({ zeroedBytes }) => formatBytes(zeroedBytes)],
      ['EXTENTS', ({ extentCount }) => extentCount],
      ['WHERE', ({ map }) => bars(map)],
    ],
    'The point has no disks.',
  );
  return `${head}\n\n${table}`;
}
