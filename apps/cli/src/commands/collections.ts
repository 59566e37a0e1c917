import type { Command } from 'commander';
import type { HeldSweepView } from '#libs/contracts/http';
import { CodedError, formatBytes } from '#libs/kernel';
import { addCommand, addNoun, type Surroundings } from '../define-command.js';
import type { Column } from '../output/paper.js';
import { quiet, state } from '../output/words.js';
import { limitOption, listing } from './listing.js';

const SWEEPS: readonly Column<HeldSweepView>[] = [
  ['VM', ({ vmName }) => vmName],
  ['TENANT', ({ tenantName }) => tenantName],
  ['OBJECTS', ({ objectCount }) => objectCount],
  ['WOULD GO', ({ bytes }) => formatBytes(bytes)],
  ['OF', ({ storedBytes }) => formatBytes(storedBytes)],
  ['FOUND', ({ foundAt }, paper) => paper.ago(foundAt)],
  ['STATE', (sweep) => state(sweep.state)],
  ['APPROVED BY', ({ firstApproval, secondApproval }) => [firstApproval?.by, secondApproval?.by].filter(Boolean).join(', ') || null],
  ['SWEEP', ({ digest }) => quiet(digest)],
];

const SHORTEST_PREFIX = 8;
const LISTED_MAX = 1000;

/** Deletions that are too large for the platform to do by itself. */
export function addCollections(operator: Command, surroundings: Surroundings): void {
  const collection = addNoun(operator, 'collection', 'Deletions that are too large to go without the word of two operators.');
  addCommand<{ readonly limit: number }>(collection, surroundings, {
    usage: 'list',
    does: 'What would be deleted, and who has said that it may go; what waits for longest first.',
    examples: ['operator collection list'],
    options: [limitOption(LISTED_MAX, 100)],
    run: async (call) =>
      listing(
        call,
        await (await call.client()).operator.heldSweeps({ limit: call.flags.limit }),
        SWEEPS,
        'No deletion waits for approval.',
      ),
  });
  addCommand(collection, surroundings, {
    usage: 'approve <sweep>',
    does: 'Say that this very sweep may be deleted, for good.',
    explain: 'Two operators must. It is then carried out once; what has come due since it was listed is no part of it.',
    examples: ['operator collection approve 5b1f0c7e --yes'],
    isDestructive: true,
    run: async (call, meant) => {
      const client = await call.client();
      const held = await heldSweep(client.operator.heldSweeps({ limit: LISTED_MAX }), meant!);
      await call.confirm(
        `${held.objectCount} objects of ${held.vmName} (${held.tenantName}), ${formatBytes(held.bytes)}, are deleted for good.`,
      );
      const sweep = await client.operator.approveSweep(held.digest);
      const next = sweep.state === 'approved' ? 'It is deleted when a worker comes to it.' : 'It takes the word of a second operator.';
      return { data: sweep, text: `${sweep.objectCount} objects of ${sweep.vmName}, ${formatBytes(sweep.bytes)}, may go. ${next}` };
    },
  });
}

/** By its digest, or the beginning of it. */
async function heldSweep(listed: Promise<{ readonly items: readonly HeldSweepView[] }>, meant: string): Promise<HeldSweepView> {
  const found = (await listed).items.filter(({ digest }) => digest.startsWith(meant));
  if (found.length === 1 && meant.length >= SHORTEST_PREFIX) return found[0]!;
  if (found.length > 0)
    throw new CodedError(
      'sweep.ambiguous',
      'invalid',
      `give ${SHORTEST_PREFIX} characters or more of the digest, so that no other sweep is meant`,
    );
  throw new CodedError('sweep.not-found', 'not-found', `no sweep that is held begins with ${meant}`);
}
