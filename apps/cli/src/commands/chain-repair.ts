import type { Command } from 'commander';
import type { HoldfastClient } from '#libs/client';
import type { ChainRepairItem, ChainRepairView } from '#libs/contracts/http';
import { CodedError } from '#libs/kernel';
import { addCommand, type Call, option, type Surroundings } from '../define-command.js';
import { findRelationship } from '../find.js';
import type { Column, Paper } from '../output/paper.js';
import { quiet } from '../output/words.js';

const POLL_INTERVAL_MS = 1_000;

interface Flags {
  readonly show?: true;
  readonly detach?: true;
}

export function addChainRepair(chain: Command, surroundings: Surroundings): void {
  addCommand<Flags>(chain, surroundings, {
    usage: 'repair <vm>',
    does: 'What of the chain of a protected VM is damaged in the store, what can mend it, and the repair of it.',
    explain:
      'A segment is mended from a copy of the chain at another site, or from what the VM still holds: its agent seals the damaged blocks anew, as long as\n' +
      'nobody wrote over them since. Nothing of that enters the history before a replica node has opened it and found the very content of before; where\n' +
      'you hold the key, release it with `keys release` when it is asked for. What nothing mends is healed at the head alone, by the next cycles.\n' +
      'Exit code 8 when something stays damaged.',
    examples: ['chain repair web-1', 'chain repair web-1 --show', 'chain repair web-1 --detach --json'],
    options: [option('--show', 'begin nothing, only tell'), option('--detach', 'begin, and do not wait for it')],
    run: async (call, meant) => {
      const client = await call.client();
      const { id } = await findRelationship(client, meant!);
      const view = call.flags.show === true ? await client.chains.repair(id) : await repair(call, client, id);
      return { data: view, text: repairText(call.paper, view), ...failureOf(view, call.flags) };
    },
  });
}

async function repair(call: Call<Flags>, client: HoldfastClient, id: string): Promise<ChainRepairView> {
  let view = await client.chains.startRepair(id);
  let told = '';
  while (call.flags.detach !== true && view.items.some(goesOn)) {
    const line = progressOf(view);
    if (line !== told) call.terminal.tell((told = line));
    await call.sleep(POLL_INTERVAL_MS);
    view = await client.chains.repair(id);
  }
  return view;
}

/** By itself: nobody need do anything first. */
function goesOn({ repair: standing }: ChainRepairItem): boolean {
  return standing !== null && standing.endedAt === null && standing.state !== 'WaitingForKeys';
}

const WORDS: Readonly<Record<NonNullable<ChainRepairItem['repair']>['state'], string>> = {
  Queued: 'waits for a replica node',
  WaitingForKeys: 'waits for your key: holdfast keys release',
  Examining: 'being examined',
  Examined: 'examined',
  WaitingForAgent: 'waits for the agent',
  Offered: 'sent by the agent',
  Verifying: 'being verified',
  Verified: 'verified',
  Completed: 'mended',
  Failed: 'not mended',
};

function progressOf({ items }: ChainRepairView): string {
  const going = items.filter(goesOn);
  const [wanted, offered] = [sum(going, 'wantedRecords'), sum(going, 'offeredRecords')];
  const records = wanted === 0 ? '' : `; ${offered} of ${wanted} records sent`;
  const states = [...new Set(going.map(({ repair: standing }) => WORDS[standing!.state]))].join(', ');
  return `${going.length} of ${items.length} under way: ${states}${records}`;
}

function sum(items: readonly ChainRepairItem[], figure: 'wantedRecords' | 'offeredRecords'): number {
  return items.reduce((total, { repair: standing }) => total + (standing?.[figure] ?? 0), 0);
}

function failureOf({ items }: ChainRepairView, { show, detach }: Flags): { failure?: CodedError } {
  const damaged = items.filter(({ damage }) => damage !== null);
  if (damaged.length === 0 || (detach === true && show !== true)) return {};
  const many = damaged.length === 1 ? 'object is' : 'objects are';
  return { failure: new CodedError('chain-repair.damaged', 'corrupt', `${damaged.length} ${many} damaged`) };
}

const MEANS = { catalogue: 'what the catalogue knows', copy: 'a copy elsewhere', agent: "the agent's disk" } as const;

const ITEMS: readonly Column<ChainRepairItem>[] = [
  ['KIND', ({ kind }) => kind],
  ['OBJECT', ({ object }) => object],
  ['DAMAGE', ({ damage }) => (damage === null ? 'none any more' : { text: damage.code, tone: 'bad' })],
  ['POINTS', ({ pointIds }) => pointIds.length],
  [
    'MENDED BY',
    ({ kind, damage, means }) => {
      if (damage === null) return '';
      if (means.length > 0) return means.map((each) => MEANS[each]).join(', ');
      return kind === 'fence' ? 'a copy of the store' : 'nothing: the head is healed';
    },
  ],
  ['REPAIR', ({ repair: standing }) => (standing === null ? 'not begun' : WORDS[standing.state])],
  ['WHY', ({ repair: standing }) => quiet(standing?.failureCode ?? '')],
];

function repairText(paper: Paper, { vmName, items }: ChainRepairView): string {
  return `${paper.facts([['VM', vmName]])}\n\n${paper.table(items, ITEMS, 'Nothing is known to be damaged. `chain check --bytes` looks at every byte.')}`;
}
