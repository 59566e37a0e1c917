import type { Command } from 'commander';
import type { RelationshipView, VmView } from '#libs/contracts/http';
import { formatBytes } from '#libs/kernel';
import { addCommand, addNoun, type Surroundings } from '../define-command.js';
import { findVm } from '../find.js';
import type { Column } from '../output/paper.js';
import { type Cell, quiet, seconds, state } from '../output/words.js';
import { listing } from './listing.js';

const sizeOf = ({ definition }: VmView): number => definition.disks.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);

const columns = (relationships: ReadonlyMap<string, RelationshipView>): readonly Column<VmView>[] => [
  ['VM', ({ name }) => name],
  ['POWER', ({ power }) => state(power)],
  ['CPUS', ({ definition }) => definition.cpuCount],
  ['MEMORY', ({ definition }) => formatBytes(definition.memoryBytes)],
  ['DISKS', (vm) => `${vm.definition.disks.length}, ${formatBytes(sizeOf(vm))}`],
  ['PROTECTION', (vm) => protectionOf(vm, relationships)],
  ['RPO', ({ relationshipId }) => seconds(relationships.get(relationshipId ?? '')?.rpoSeconds ?? null)],
  ['REPORTED', ({ reportedAt }, paper) => paper.ago(reportedAt)],
  ['ID', ({ id }) => quiet(id)],
];

function protectionOf({ relationshipId, obstacle }: VmView, relationships: ReadonlyMap<string, RelationshipView>): Cell {
  const relationship = relationships.get(relationshipId ?? '');
  if (relationship !== undefined) return state(relationship.state);
  return obstacle === null ? quiet('none') : { text: obstacle, tone: 'warning' };
}

export function addVms(program: Command, surroundings: Surroundings): void {
  const vms = addNoun(program, 'vms', 'The virtual machines that your agents see, protected or not.');
  addCommand(vms, surroundings, {
    usage: 'list',
    does: 'All VMs, with their protection.',
    mirrors: 'Get-VM',
    examples: ['vms list', `vms list --json | jq -r '.items[] | select(.relationshipId == null) | .name'`],
    run: async (call) => {
      const client = await call.client();
      const [page, relationships] = await Promise.all([client.vms.list(), client.relationships.list()]);
      const byId = new Map(relationships.items.map((each) => [each.id, each]));
      return listing(call, page, columns(byId), 'No VMs yet: an agent reports them once it runs.');
    },
  });
  addCommand(vms, surroundings, {
    usage: 'show <vm>',
    does: 'One VM with its disks and adapters.',
    mirrors: 'Get-VM',
    examples: ['vms show web-1'],
    run: async (call, meant) => {
      const vm = await findVm(await call.client(), meant!);
      const { definition } = vm;
      const facts = call.paper.facts([
        ['VM', vm.name],
        ['Power', state(vm.power)],
        ['Obstacle', vm.obstacle === null ? undefined : { text: vm.obstacle, tone: 'warning' }],
        ['Hardware', `${definition.cpuCount} CPUs, ${formatBytes(definition.memoryBytes)}, ${definition.firmware}, ${definition.machine}`],
        ['Protected', vm.relationshipId === null ? 'no: `holdfast protect` does it' : 'yes: see `holdfast replication show`'],
        ['Reported', call.paper.at(vm.reportedAt)],
        ['Agent', quiet(vm.agentId)],
        ['Id', quiet(vm.id)],
      ]);
      const disks = call.paper.table(
        definition.disks,
        [
          ['DISK', ({ ordinal }) => ordinal],
          ['NAME', ({ name }) => name],
          ['SIZE', ({ sizeBytes }) => formatBytes(sizeBytes)],
          ['BUS', ({ bus }) => bus],
          ['BOOTS', ({ bootOrder }) => bootOrder],
        ],
        '',
      );
      return { data: vm, text: `${facts}\n\n${disks}` };
    },
  });
}
