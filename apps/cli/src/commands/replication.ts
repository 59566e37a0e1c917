import type { Command } from 'commander';
import type { HoldfastClient } from '#libs/client';
import type { RelationshipView } from '#libs/contracts/http';
import { formatBytes } from '#libs/kernel';
import { addCommand, addNoun, option, type Surroundings } from '../define-command.js';
import { findRelationship, findVm } from '../find.js';
import type { Column, Paper } from '../output/paper.js';
import { type Cell, quiet, seconds, state } from '../output/words.js';
import { listing } from './listing.js';
import { every, policyFacts, type PolicyFlags, policyOptions, wishOf } from './policy.js';

const COLUMNS: readonly Column<RelationshipView>[] = [
  ['VM', ({ vmName }) => vmName],
  ['STATE', (each) => state(each.state)],
  ['HEALTH', ({ health }) => state(health)],
  ['RPO', ({ rpoSeconds }) => seconds(rpoSeconds)],
  ['LAST', ({ lastReplicationAt }, paper) => paper.ago(lastReplicationAt)],
  ['EVERY', ({ policy }) => every(policy.frequencySeconds)],
  ['POINTS', ({ recoveryPointCount }) => recoveryPointCount],
  ['STORED', ({ storedBytes }) => formatBytes(storedBytes)],
  ['ID', ({ id }) => quiet(id)],
];

export function addProtect(program: Command, surroundings: Surroundings): void {
  addCommand<PolicyFlags>(program, surroundings, {
    usage: 'protect <vm>',
    does: 'Replicate a VM from now on.',
    explain:
      'The VM keeps running. Its disks are copied once, then what it writes is sent at each interval; every cycle adds a recovery point.',
    mirrors: 'Enable-VMReplication, Start-VMInitialReplication',
    examples: ['protect web-1', 'protect web-1 --frequency 30s --history 12 --bandwidth 20MiB'],
    options: policyOptions(' (default: 5m)', ' (default: 24)'),
    run: async (call, meant) => {
      const client = await call.client();
      const vm = await findVm(client, meant!);
      const policy = wishOf(call.flags, undefined);
      const relationship = await client.relationships.enable({ vmId: vm.id, ...(policy === undefined ? {} : { policy }) });
      const text = `${vm.name} is protected, every ${every(relationship.policy.frequencySeconds)}. Watch it: holdfast cycles ${vm.name} --watch`;
      return { data: relationship, text };
    },
  });
}

interface Change {
  readonly name: string;
  readonly does: string;
  readonly mirrors: string;
  readonly run: (client: HoldfastClient, id: string) => Promise<RelationshipView>;
  readonly done: (vmName: string) => string;
}

const CHANGES: readonly Change[] = [
  {
    name: 'suspend',
    does: 'Send nothing until resumed; what is written meanwhile is remembered.',
    mirrors: 'Suspend-VMReplication',
    run: (client, id) => client.relationships.suspend(id),
    done: (vmName) => `Replication of ${vmName} is suspended.`,
  },
  {
    name: 'resume',
    does: 'Go on with replication.',
    mirrors: 'Resume-VMReplication',
    run: (client, id) => client.relationships.resume(id),
    done: (vmName) => `Replication of ${vmName} goes on.`,
  },
  {
    name: 'replicate',
    does: 'Run a replication cycle now.',
    mirrors: 'Resume-VMReplication, without waiting for the interval',
    run: (client, id) => client.relationships.replicate(id),
    done: (vmName) => `A cycle of ${vmName} was asked for: see \`holdfast cycles ${vmName}\`.`,
  },
];

export function addReplication(program: Command, surroundings: Surroundings): void {
  const replication = addNoun(program, 'replication', 'Replication of protected VMs.');
  addCommand(replication, surroundings, {
    usage: 'list',
    does: 'All protected VMs, with state, health and RPO.',
    mirrors: 'Get-VMReplication',
    examples: ['replication list'],
    run: async (call) => {
      const none = 'Nothing is protected yet: `holdfast protect <vm>` does it.';
      return listing(call, await (await call.client()).relationships.list(), COLUMNS, none);
    },
  });
  addCommand(replication, surroundings, {
    usage: 'show <vm>',
    does: 'One protected VM: state, health and what mends it, policy.',
    mirrors: 'Get-VMReplication, Measure-VMReplication',
    examples: ['replication show web-1', 'replication show web-1 --json | jq .rpoSeconds'],
    run: async (call, meant) => {
      const relationship = await findRelationship(await call.client(), meant!);
      return { data: relationship, text: describe(call.paper, relationship) };
    },
  });
  for (const { name, does, mirrors, run, done } of CHANGES) {
    addCommand(replication, surroundings, {
      usage: `${name} <vm>`,
      does,
      mirrors,
      examples: [`replication ${name} web-1`],
      run: async (call, meant) => {
        const client = await call.client();
        const relationship = await run(client, (await findRelationship(client, meant!)).id);
        return { data: relationship, text: done(relationship.vmName) };
      },
    });
  }
  addPolicy(replication, surroundings);
  addCommand(replication, surroundings, {
    usage: 'remove <vm>',
    does: 'Protect a VM no longer; its replica and all recovery points go.',
    mirrors: 'Remove-VMReplication',
    examples: ['replication remove web-1'],
    isDestructive: true,
    run: async (call, meant) => {
      const client = await call.client();
      const relationship = await findRelationship(client, meant!);
      const { id, vmName, recoveryPointCount } = relationship;
      await call.confirm(`The replica of ${vmName} and its ${recoveryPointCount} recovery points are given up.`);
      await client.relationships.remove(id);
      return { data: relationship, text: `${vmName} is not protected any more.` };
    },
  });
}

function addPolicy(replication: Command, surroundings: Surroundings): void {
  addCommand<PolicyFlags>(replication, surroundings, {
    usage: 'policy <vm>',
    does: "Show or change a protected VM's policy; what is not given stays.",
    mirrors: 'Set-VMReplication',
    examples: ['replication policy web-1', 'replication policy web-1 --frequency 5m --bandwidth none'],
    options: [...policyOptions(), option('--all-disks', 'leave no disk out any more')],
    run: async (call, meant) => {
      const client = await call.client();
      const before = await findRelationship(client, meant!);
      const policy = wishOf(call.flags, before.policy);
      const after = policy === undefined ? before : await client.relationships.changePolicy(before.id, policy);
      return { data: after, text: call.paper.facts([['VM', after.vmName], ...policyFacts(after)]) };
    },
  });
}

function extendedText({ extended }: RelationshipView): Cell | undefined {
  if (extended === null) return undefined;
  const { site, health, lastPointAgeSeconds } = extended;
  const age = lastPointAgeSeconds === null ? 'no point there yet' : `last point ${seconds(lastPointAgeSeconds)} old`;
  return {
    text: `to ${site}: ${extended.state}, ${health}, ${age}`,
    tone: health === 'Normal' ? 'good' : health === 'Critical' ? 'bad' : 'warning',
  };
}

function describe(paper: Paper, relationship: RelationshipView): string {
  const { vmName, mode, health, healthDetails, rpoSeconds, lastReplicationAt, recoveryPointCount, storedBytes, epoch } = relationship;
  return paper.facts([
    ['VM', vmName],
    ['Mode', mode],
    ['State', state(relationship.state)],
    ['Health', state(health)],
    ...healthDetails.map(({ code, message }) => ['', { text: `${message} (${code})`, tone: 'warning' }] as const),
    ['RPO', seconds(rpoSeconds)],
    ['Last', paper.at(lastReplicationAt)],
    ['Recovery points', recoveryPointCount],
    ['Stored', formatBytes(storedBytes)],
    ['Extended', extendedText(relationship)],
    ...policyFacts(relationship),
    ['Tag', relationship.tag],
    ['Epoch', `${epoch.incarnation}.${epoch.counter}`],
    ['Since', paper.at(relationship.createdAt)],
    ['VM id', quiet(relationship.vmId)],
    ['Id', quiet(relationship.id)],
  ]);
}
