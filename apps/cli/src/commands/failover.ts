import { writeFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { type HoldfastClient, isFailoverEnded } from '#libs/client';
import type { FailoverView } from '#libs/contracts/http';
import { CodedError, formatDuration, messageOf } from '#libs/kernel';
import { addCommand, addNoun, type Answer, type Call, choice, option, requiredOption, type Surroundings } from '../define-command.js';
import { findFailover, findRelationship } from '../find.js';
import { LiveBlock, type LiveLine } from '../output/live-block.js';
import type { Column, Paper } from '../output/paper.js';
import { harmless, paint, quiet, seconds, state, type Tone, yesNo } from '../output/words.js';
import { limitOption, listing } from './listing.js';

const COLUMNS: readonly Column<FailoverView>[] = [
  ['VM', ({ vmName }) => vmName],
  ['TYPE', ({ type }) => type],
  ['STATE', (each) => state(each.state)],
  ['REQUESTED', ({ requestedAt }, paper) => paper.ago(requestedAt)],
  ['RTO', ({ rtoSeconds }) => seconds(rtoSeconds)],
  ['REPLICA NODE', ({ replicaNodeName }) => replicaNodeName],
  ['VERIFIED', ({ bootVerified }) => yesNo(bootVerified)],
  ['TROUBLE', ({ failureCode }) => (failureCode === null ? '' : { text: failureCode, tone: 'bad' })],
  ['ID', ({ id }) => quiet(id)],
];

interface StartFlags {
  readonly type: 'test' | 'unplanned';
  readonly point?: string;
  readonly latest?: true;
  readonly damaged?: true;
  readonly watch?: true;
}

export function addFailover(program: Command, surroundings: Surroundings): void {
  const failover = addNoun(program, 'failover', 'Bring VMs up at the replica cluster.');
  addCommand<StartFlags>(failover, surroundings, {
    usage: 'start <vm>',
    does: 'Bring a VM up at the provider from one of its recovery points.',
    explain:
      'unplanned: the primary site is lost; from now on the replica is the truth, and the old primary is shut out.\n' +
      'test: a copy on an isolated network, beside a replication that goes on; cancel it when done.',
    mirrors: 'Start-VMFailover, with -AsTest for a test',
    examples: ['failover start web-1 --type test --watch', 'failover start web-1 --type unplanned --point 019f… --yes'],
    options: [
      choice('--type <type>', 'which failover', ['unplanned', 'test']).makeOptionMandatory(),
      option('--point <id>', 'from this recovery point'),
      option('--latest', 'from the newest sound recovery point, which is the default').conflicts('point'),
      option('--damaged', 'take the point that is named though a part of it is damaged in the store'),
      option('--watch', 'show its steps until the VM is up'),
    ],
    isDestructive: true,
    run: start,
  });
  addCommand<{ readonly limit: number }>(failover, surroundings, {
    usage: 'list',
    does: 'Failovers, newest first.',
    examples: ['failover list'],
    options: [limitOption(200, 50)],
    run: async (call) =>
      listing(call, await (await call.client()).failovers.list({ limit: call.flags.limit }), COLUMNS, 'There were no failovers.'),
  });
  addCommand<{ readonly watch?: true }>(failover, surroundings, {
    usage: 'show <failover-or-vm>',
    does: 'One failover with its steps.',
    examples: ['failover show web-1', 'failover show web-1 --watch'],
    options: [option('--watch', 'go on until the VM is up')],
    run: async (call, meant) => {
      const client = await call.client();
      const found = await findFailover(client, meant!);
      return call.flags.watch === true ? watch(call, client, found.id) : answer(call, found);
    },
  });
  addCommand(failover, surroundings, {
    usage: 'complete <failover-or-vm>',
    does: 'Keep the failed-over VM for good: the recovery point cannot be changed any more.',
    mirrors: 'Complete-VMFailover',
    examples: ['failover complete web-1'],
    isDestructive: true,
    run: async (call, meant) => {
      const client = await call.client();
      const { id, vmName } = await findFailover(client, meant!);
      await call.confirm(`The failover of ${vmName} becomes final; it cannot be cancelled any more.`);
      return { data: await client.failovers.complete(id), text: `The failover of ${vmName} is complete.` };
    },
  });
  addCommand(failover, surroundings, {
    usage: 'cancel <failover-or-vm>',
    does: 'End the failed-over VM and throw away what it wrote; replication goes on as before.',
    mirrors: 'Stop-VMFailover',
    examples: ['failover cancel web-1'],
    isDestructive: true,
    run: async (call, meant) => {
      const client = await call.client();
      const { id, vmName } = await findFailover(client, meant!);
      await call.confirm(`The VM ${vmName} at the replica cluster is ended, and what it wrote there is lost.`);
      return {
        data: await client.failovers.cancel(id),
        text: `The failover of ${vmName} is being cancelled. See it end: holdfast failover show ${id} --watch`,
      };
    },
  });
  addCommand<{ readonly output: string }>(failover, surroundings, {
    usage: 'screenshot <failover-or-vm>',
    does: "Save a picture of the VM's console.",
    examples: ['failover screenshot web-1 -o web-1.png'],
    options: [requiredOption('-o, --output <file>', 'where to: a PNG')],
    run: screenshot,
  });
}

async function start(call: Call<StartFlags>, meant: string | undefined): Promise<Answer> {
  const client = await call.client();
  const { id, vmName } = await findRelationship(client, meant!);
  const isTest = call.flags.type === 'test';
  if (!isTest) await call.confirm(`${vmName} will run at the provider, and its primary is shut out from replication.`);
  const { point, damaged = false } = call.flags;
  const type = isTest ? ('Test' as const) : ('Unplanned' as const);
  const body = { type, allowDamaged: damaged, ...(point === undefined ? {} : { recoveryPointId: point }) };
  const started = await client.failovers.start(id, body);
  if (point === undefined) await warnWhenOlder(call, client, started);
  if (call.flags.watch === true) return watch(call, client, started.id);
  const text = `${started.type} failover of ${vmName} is ${started.state}. Watch it: holdfast failover show ${started.id} --watch`;
  return { data: started, text };
}

/** The newest points are passed over where a part of them is damaged in the store. */
async function warnWhenOlder(call: Call, client: HoldfastClient, { relationshipId, recoveryPointId }: FailoverView): Promise<void> {
  const [newest] = (await client.relationships.recoveryPoints(relationshipId, { limit: 1 })).items;
  if (newest?.isDamaged === true && newest.id !== recoveryPointId)
    call.terminal.tell('The newest recovery point is damaged in the store: this is the newest sound one. See `holdfast points`.');
}

async function watch(call: Call, client: HoldfastClient, id: string): Promise<Answer> {
  const block = new LiveBlock(call.terminal.progress);
  let newest: FailoverView | undefined;
  let isTold = false;
  for await (const view of client.failovers.watch(id, { signal: call.terminal.interrupted })) {
    newest = view;
    block.show(view.steps.map((step) => stepLine(step, call.terminal)));
    if (view.waitingFor !== null && !isTold) call.terminal.tell(`It waits for your keys: holdfast keys release ${view.id} --key FILE`);
    isTold = view.waitingFor !== null;
    if (view.state === 'Running' || isFailoverEnded(view)) break;
  }
  // Its steps were shown as they happened.
  return answer(call, newest ?? (await client.failovers.get(id)), false);
}

type Step = FailoverView['steps'][number];

const MARKS: Readonly<Record<Step['state'], readonly [mark: string, tone: Tone]>> = {
  pending: ['·', 'quiet'],
  running: ['▸', 'strong'],
  waiting: ['▸', 'strong'],
  succeeded: ['✔', 'good'],
  failed: ['✘', 'bad'],
  undoing: ['↶', 'warning'],
  undone: ['↶', 'quiet'],
};

function stepLine({ name, state: now, startedAt, finishedAt, message }: Step, { hasColour }: { readonly hasColour: boolean }): LiveLine {
  const [mark, tone] = MARKS[now];
  const took = startedAt === null || finishedAt === null ? '' : `  ${formatDuration(Date.parse(finishedAt) - Date.parse(startedAt))}`;
  const said = message === null ? '' : `  ${message}`;
  const isFinal = now === 'succeeded' || now === 'failed' || now === 'undone';
  return { text: paint(`  ${mark} ${harmless(name.replaceAll('-', ' '))}${took}${harmless(said)}`, tone, hasColour), isFinal };
}

function answer(call: Call, view: FailoverView, withSteps = true): Answer {
  const text = describe(call.paper, view, withSteps);
  if (view.state !== 'Failed') return { data: view, text };
  const failure = new CodedError(view.failureCode ?? 'failover.failed', 'conflict', view.failureMessage ?? 'the failover failed');
  return { data: view, text, failure };
}

function describe(paper: Paper, view: FailoverView, withSteps: boolean): string {
  const facts = paper.facts([
    ['VM', view.vmName],
    ['Failover', `${view.type}, requested ${String(paper.at(view.requestedAt))}`],
    ['State', state(view.state)],
    [
      'Waits for',
      view.waitingFor === null ? undefined : { text: `your keys: holdfast keys release ${view.id} --key FILE`, tone: 'warning' },
    ],
    ['Recovery point', paper.at(view.recoveryPointInstant)],
    ['Replica node', view.replicaNodeName],
    ['RTO', seconds(view.rtoSeconds)],
    ['Boot', bootOf(view)],
    ['Screenshot', view.hasScreenshot ? 'there is one: see `holdfast failover screenshot`' : undefined],
    ['Trouble', view.failureCode === null ? undefined : { text: `${view.failureMessage ?? ''} (${view.failureCode})`, tone: 'bad' }],
    ['Id', quiet(view.id)],
  ]);
  if (!withSteps || view.steps.length === 0) return facts;
  return `${facts}\n\n${view.steps.map((step) => stepLine(step, paper).text).join('\n')}`;
}

function bootOf({ upAt, bootMs, bootVerified, bootDoubt }: FailoverView): string | null {
  if (upAt === null) return null;
  if (!bootVerified) return `not verified: look at the VM console${bootDoubt === null ? '' : ` (${bootDoubt})`}`;
  return `${bootMs === null ? '' : `${formatDuration(bootMs)}, `}the guest gave its sign of life`;
}

async function screenshot(call: Call<{ readonly output: string }>, meant: string | undefined): Promise<Answer> {
  const client = await call.client();
  const { id, vmName } = await findFailover(client, meant!);
  const { output } = call.flags;
  const png = await client.failovers.screenshot(id);
  try {
    await writeFile(output, png);
  } catch (error) {
    throw new CodedError('cli.file', 'invalid', `${output} cannot be written: ${messageOf(error)}`, {}, error);
  }
  return { data: { id, file: output, sizeBytes: png.byteLength }, text: `The console of ${vmName} is in ${output}.` };
}
