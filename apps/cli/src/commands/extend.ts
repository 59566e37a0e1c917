import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import type { HoldfastClient } from '#libs/client';
import type { ExtendedReplicationView } from '#libs/contracts/http';
import { formatBytes } from '#libs/kernel';
import { addCommand, addNoun, option, type Surroundings } from '../define-command.js';
import { findRelationship } from '../find.js';
import type { Column, Paper } from '../output/paper.js';
import { exactTime, quiet, seconds, state } from '../output/words.js';
import { frequency } from '../parse.js';
import { listing } from './listing.js';
import { every } from './policy.js';

interface ExtendFlags {
  readonly to: string;
  readonly frequency: 300 | 900;
}

const COLUMNS: readonly Column<ExtendedReplicationView>[] = [
  ['VM', ({ vmName }) => vmName],
  ['SITE', ({ site }) => site],
  ['STATE', (each) => state(each.state)],
  ['HEALTH', ({ health }) => state(health)],
  ['LAST POINT', ({ lastPointAgeSeconds }) => seconds(lastPointAgeSeconds)],
  ['PENDING', ({ pendingBytes }) => formatBytes(pendingBytes)],
  ['EVERY', ({ frequencySeconds }) => every(frequencySeconds)],
  ['TROUBLE', ({ failureCode }) => (failureCode === null ? '' : { text: failureCode, tone: 'bad' })],
];

interface Change {
  readonly name: string;
  readonly does: string;
  readonly mirrors: string;
  readonly run: (client: HoldfastClient, id: string) => Promise<ExtendedReplicationView>;
  readonly done: (vmName: string) => string;
}

const CHANGES: readonly Change[] = [
  {
    name: 'suspend',
    does: 'Carry nothing on until resumed.',
    mirrors: 'Suspend-VMReplication -ReplicationRelationshipType Extended',
    run: (client, id) => client.extendedReplications.suspend(id),
    done: (vmName) => `Extended replication of ${vmName} is suspended.`,
  },
  {
    name: 'resume',
    does: 'Go on carrying.',
    mirrors: 'Resume-VMReplication -ReplicationRelationshipType Extended',
    run: (client, id) => client.extendedReplications.resume(id),
    done: (vmName) => `Extended replication of ${vmName} goes on.`,
  },
];

/** Hyper-V Replica's two. */
function extendedFrequency(text: string): 300 | 900 {
  const asked = frequency(text);
  if (asked === 30) throw new InvalidArgumentError('an extended replica is at 5m or 15m.');
  return asked;
}

export function addExtend(program: Command, surroundings: Surroundings): void {
  const extend = addNoun(program, 'extend', 'Extended replication: recovery points carried on to a third site.');
  addCommand<ExtendFlags>(extend, surroundings, {
    usage: 'start <vm>',
    isDefault: true,
    does: 'Carry the recovery points of a protected VM on to a third site from now on.',
    explain:
      'The same sealed bytes are put there under the same names: whoever has the site and the keys opens any point of them, with this Holdfast or without.\n' +
      'Asked again for the same VM, it changes the site or the frequency. Nothing at a third site is ever deleted from here.',
    mirrors: 'Enable-VMReplication -ReplicaServerName, on a replica server',
    examples: ['extend web-1 --to berlin', 'extend web-1 --to berlin --frequency 15m'],
    options: [
      option('--to <site>', 'the third site: see `holdfast extend sites`').makeOptionMandatory(),
      option('--frequency <time>', '5m or 15m, not more often than the VM is replicated', extendedFrequency).default(300, '5m'),
    ],
    run: async (call, meant) => {
      const client = await call.client();
      const { id } = await findRelationship(client, meant!);
      const view = await client.extendedReplications.extend(id, { site: call.flags.to, frequencySeconds: call.flags.frequency });
      const text = `${view.vmName} is carried on to ${view.site}, every ${every(view.frequencySeconds)}. Watch it: holdfast extend status ${view.vmName}`;
      return { data: view, text };
    },
  });
  addCommand(extend, surroundings, {
    usage: 'list',
    does: 'All VMs that are carried on, with state and health there.',
    mirrors: 'Get-VMReplication -ReplicationRelationshipType Extended',
    examples: ['extend list', 'extend list --json'],
    run: async (call) => {
      const none = 'Nothing is carried on to a third site: `holdfast extend <vm> --to <site>` does it.';
      return listing(call, await (await call.client()).extendedReplications.list(), COLUMNS, none);
    },
  });
  addCommand(extend, surroundings, {
    usage: 'status <vm>',
    does: 'How far one VM is carried on: state, health and what mends it.',
    mirrors: 'Measure-VMReplication -ReplicationRelationshipType Extended',
    examples: ['extend status web-1', 'extend status web-1 --json | jq .pendingBytes'],
    run: async (call, meant) => {
      const client = await call.client();
      const view = await client.extendedReplications.get((await findRelationship(client, meant!)).id);
      return { data: view, text: describe(call.paper, view) };
    },
  });
  addCommand(extend, surroundings, {
    usage: 'sites',
    does: 'The third sites that there are.',
    examples: ['extend sites'],
    run: async (call) =>
      listing(
        call,
        await (await call.client()).extendedReplications.thirdSites(),
        [['SITE', ({ name }) => name]],
        'The provider offers no third site.',
      ),
  });
  for (const { name, does, mirrors, run, done } of CHANGES)
    addCommand(extend, surroundings, {
      usage: `${name} <vm>`,
      does,
      mirrors,
      examples: [`extend ${name} web-1`],
      run: async (call, meant) => {
        const client = await call.client();
        const view = await run(client, (await findRelationship(client, meant!)).id);
        return { data: view, text: done(view.vmName) };
      },
    });
  addCommand(extend, surroundings, {
    usage: 'stop <vm>',
    does: 'Carry nothing of a VM on any more. What is at the third site stays there.',
    mirrors: 'Remove-VMReplication -ReplicationRelationshipType Extended',
    examples: ['extend stop web-1 --yes'],
    isDestructive: true,
    run: async (call, meant) => {
      const client = await call.client();
      const { id, vmName } = await findRelationship(client, meant!);
      const { site } = await client.extendedReplications.get(id);
      await call.confirm(`Nothing of ${vmName} is carried on to ${site} any more. What is there stays.`);
      await client.extendedReplications.remove(id);
      return { data: { relationshipId: id }, text: `Extended replication of ${vmName} is off.` };
    },
  });
}

function describe(paper: Paper, view: ExtendedReplicationView): string {
  return paper.facts([
    ['VM', view.vmName],
    ['Third site', view.site],
    ['Mode', view.mode],
    ['State', state(view.state)],
    ['Health', state(view.health)],
    ...view.healthDetails.map(({ code, message }) => ['', { text: `${message} (${code})`, tone: 'warning' }] as const),
    ['Last point there', view.lastPointInstant === null ? 'none' : exactTime(view.lastPointInstant)],
    ['Its age', seconds(view.lastPointAgeSeconds)],
    ['All was there', paper.ago(view.lastWholeAt)],
    ['Pending', `${view.pendingManifests} cycles, ${formatBytes(view.pendingBytes)}`],
    ['Carried', formatBytes(view.carriedBytes)],
    ['Every', every(view.frequencySeconds)],
    ['Id', quiet(view.relationshipId)],
  ]);
}
