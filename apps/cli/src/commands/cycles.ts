import type { Command } from 'commander';
import type { CycleView } from '#libs/contracts/http';
import { formatBytes, formatDuration } from '#libs/kernel';
import { addCommand, type Answer, type Call, option, type Surroundings } from '../define-command.js';
import { findRelationship } from '../find.js';
import type { Column, Paper } from '../output/paper.js';
import { exactTime, state } from '../output/words.js';
import { limitOption, listing } from './listing.js';

const bytes = (value: number | null): string | null => (value === null ? null : formatBytes(value));

const CYCLES: readonly Column<CycleView>[] = [
  ['CYCLE', ({ cycle }) => cycleName(cycle)],
  ['KIND', ({ kind }) => kind],
  ['STATE', (each) => state(each.state)],
  ['STARTED', ({ startedAt }, paper) => paper.ago(startedAt)],
  ['CHANGED', ({ changedBytes }) => bytes(changedBytes)],
  ['SENT', ({ sentBytes }) => formatBytes(sentBytes)],
  ['TOOK', ({ durationMs }) => (durationMs === null ? null : formatDuration(durationMs))],
  ['PAUSED', ({ pauseMs }) => (pauseMs === null ? null : formatDuration(pauseMs))],
  ['POINT', ({ manifestKind }) => (manifestKind === 'point' ? 'yes' : 'no')],
  [
    'TROUBLE',
    ({ failureCode, failureMessage }) => (failureCode === null ? '' : { text: `${failureMessage ?? ''} (${failureCode})`, tone: 'bad' }),
  ],
];

/** The number of a cycle has the database's incarnation in its upper 16 bits: seldom anything but 1. */
function cycleName(cycle: string): string {
  const [incarnation, number] = [BigInt(cycle) >> 48n, BigInt(cycle) & ((1n << 48n) - 1n)];
  return incarnation <= 1n ? String(number) : `${incarnation}.${number}`;
}

interface CycleFlags {
  readonly limit: number;
  readonly watch?: true;
}

const WATCH_INTERVAL_MS = 1000;

export function addCycles(program: Command, surroundings: Surroundings): void {
  addCommand<CycleFlags>(program, surroundings, {
    usage: 'cycles <vm>',
    does: 'The replication cycles of a protected VM, newest first.',
    explain: 'With --watch each cycle is written when it has ended, until Ctrl-C; with --json as one object a line.',
    mirrors: 'Measure-VMReplication',
    examples: ['cycles web-1', 'cycles web-1 --watch'],
    options: [limitOption(1000, 20), option('--watch', 'go on, and write each cycle as it ends')],
    run: async (call, meant) => {
      const client = await call.client();
      const { id, vmName } = await findRelationship(client, meant!);
      if (call.flags.watch === true) return watch(call, async () => (await client.relationships.cycles(id, { limit: 50 })).items);
      return listing(call, await client.relationships.cycles(id, { limit: call.flags.limit }), CYCLES, `${vmName} has no cycles yet.`);
    },
  });
}

/** Until the person stops it: that is how it ends well. */
async function watch(call: Call<CycleFlags>, load: () => Promise<CycleView[]>): Promise<Answer> {
  const { terminal } = call;
  const written = new Set<string>();
  terminal.tell('Each cycle is written when it has ended; Ctrl-C stops.');
  while (!terminal.interrupted.aborted) {
    const ended = (await load()).filter(({ id, state: now }) => now !== 'open' && !written.has(id));
    for (const cycle of ended.reverse()) {
      written.add(cycle.id);
      terminal.say(call.flags.json === true ? JSON.stringify(cycle) : sentence(cycle, call.paper));
    }
    await call.sleep(WATCH_INTERVAL_MS);
  }
  throw terminal.interrupted.reason;
}

function sentence(cycle: CycleView, paper: Paper): string {
  const { kind, changedBytes, sentBytes, durationMs, pauseMs, failureCode, endedAt } = cycle;
  const [line] = paper
    .table(
      [cycle],
      [
        ['', () => exactTime(endedAt ?? cycle.startedAt)],
        ['', () => `cycle ${cycleName(cycle.cycle)}`],
        ['', () => kind],
        ['', () => state(cycle.state)],
        ['', () => `${bytes(changedBytes) ?? '-'} changed, ${formatBytes(sentBytes)} sent`],
        ['', () => (durationMs === null ? '' : `in ${formatDuration(durationMs)}`)],
        ['', () => (pauseMs === null ? '' : `VM paused ${formatDuration(pauseMs)}`)],
        ['', () => (failureCode === null ? '' : { text: failureCode, tone: 'bad' })],
      ],
      '',
    )
    .split('\n')
    .slice(1);
  return line ?? '';
}
