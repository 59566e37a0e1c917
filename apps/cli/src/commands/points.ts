import type { Command } from 'commander';
import type { RecoveryPointView } from '#libs/contracts/http';
import { formatBytes } from '#libs/kernel';
import { addCommand, addNoun, option, type Surroundings } from '../define-command.js';
import { findPointId, findRelationship } from '../find.js';
import type { Column } from '../output/paper.js';
import { exactTime, quiet } from '../output/words.js';
import { limitOption, listing } from './listing.js';

const POINTS: readonly Column<RecoveryPointView>[] = [
  ['NUMBER', ({ sequence }) => sequence],
  ['INSTANT', ({ instant }) => exactTime(instant)],
  ['', ({ instant }, paper) => paper.ago(instant)],
  ['CONSISTENCY', ({ consistency }) => consistency],
  ['DISKS', ({ disks }) => disks.length],
  ['SENT', ({ sentBytes }) => formatBytes(sentBytes)],
  ['DAMAGED', ({ isDamaged }) => (isDamaged ? { text: 'damaged', tone: 'bad' } : '')],
  ['PIN', ({ pin }) => (pin === null ? '' : pin.note || 'pinned')],
  ['ID', ({ id }) => quiet(id)],
];

export function addPoints(program: Command, surroundings: Surroundings): void {
  const points = addNoun(program, 'points', 'The recovery points of protected VMs.');
  addCommand<{ readonly limit: number }>(points, surroundings, {
    usage: 'list <vm>',
    isDefault: true,
    does: 'The recovery points of a protected VM, newest first.',
    explain: '`holdfast points <vm>` does the same. Which of them stay, and why: `holdfast retention plan <vm>`.',
    mirrors: 'Get-VMSnapshot -SnapshotType Replica',
    examples: ['points list web-1', 'points web-1 --json | jq -r .items[0].id'],
    options: [limitOption(1000, 50)],
    run: async (call, meant) => {
      const client = await call.client();
      const { id, vmName } = await findRelationship(client, meant!);
      const page = await client.relationships.recoveryPoints(id, { limit: call.flags.limit });
      return listing(call, page, POINTS, `${vmName} has no recovery point yet; initial replication makes the first.`);
    },
  });
  addCommand<{ readonly note: string }>(points, surroundings, {
    usage: 'pin <point>',
    does: 'Keep a recovery point until it is unpinned, whatever the policy says.',
    examples: ['points pin web-1 --note "before the upgrade"', 'points pin 0198d6c3-…'],
    options: [option('--note <text>', 'why, for whoever finds it').default('')],
    run: async (call, meant) => {
      const client = await call.client();
      const point = await client.recoveryPoints.pin(await findPointId(client, meant!), call.flags.note);
      return { data: point, text: `Recovery point ${point.sequence} of ${exactTime(point.instant)} stays until it is unpinned.` };
    },
  });
  addCommand(points, surroundings, {
    usage: 'unpin <point>',
    does: 'Leave a pinned recovery point to the policy again.',
    examples: ['points unpin 0198d6c3-…'],
    run: async (call, meant) => {
      const client = await call.client();
      const point = await client.recoveryPoints.unpin(await findPointId(client, meant!));
      return { data: point, text: `Recovery point ${point.sequence} of ${exactTime(point.instant)} is left to the policy.` };
    },
  });
  addCommand(points, surroundings, {
    usage: 'remove <point>',
    does: 'Remove one recovery point for good.',
    explain: 'The newest one stays, and so do pinned ones, those within their immutable window, and those in use.',
    mirrors: 'Remove-VMSnapshot',
    examples: ['points remove 0198d6c3-… --yes'],
    isDestructive: true,
    run: async (call, meant) => {
      const client = await call.client();
      await call.confirm(`Nobody can go back to the recovery point ${meant!} any more.`);
      await client.recoveryPoints.remove(meant!);
      return { data: { id: meant, removed: true }, text: 'The recovery point is removed.' };
    },
  });
}
