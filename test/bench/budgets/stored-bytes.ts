import { BLOCK_BYTES } from '#libs/chain';
import type { Bench } from '../bench.js';
import { atMostShare, budget } from '../budget.js';
import { ourHistory } from '../ours/history.js';
import { resticHistory } from '../peers/restic.js';

const MB = 1e6;

export const G7 = budget({
  id: 'G7',
  what: 'stored bytes of a 1 % delta',
  lines: {
    changed: { against: 'bytes that changed', goal: atMostShare('MB', 0.55) },
    restic: { against: 'restic', goal: atMostShare('MB', 0.08) },
  },
  async run(bench) {
    const { ours, restic, deltaBytes } = await bothHistories(bench);
    const grown = (stored: readonly number[]): number => stored[1]! - stored[0]!;
    return {
      changed: { ours: grown(ours) / MB, theirs: deltaBytes / MB },
      restic: { ours: grown(ours) / MB, theirs: grown(restic) / MB },
    };
  },
});

export const G8 = budget({
  id: 'G8',
  what: 'stored bytes, full',
  lines: { restic: { against: 'restic', goal: atMostShare('MB', 1.1) } },
  async run(bench) {
    const { ours, restic } = await bothHistories(bench);
    return { restic: { ours: ours[0]! / MB, theirs: restic[0]! / MB } };
  },
});

export const G9 = budget({
  id: 'G9',
  what: 'stored bytes, full and 5 deltas',
  lines: { restic: { against: 'restic', goal: atMostShare('MB', 0.5) } },
  async run(bench) {
    const { ours, restic } = await bothHistories(bench);
    return { restic: { ours: ours.at(-1)! / MB, theirs: restic.at(-1)! / MB } };
  },
});

async function bothHistories(bench: Bench) {
  const { deltas } = await bench.image();
  const { storedBytes: ours } = await ourHistory(bench);
  const { storedBytes: restic } = await resticHistory(bench);
  return { ours, restic, deltaBytes: deltas[0]!.blocks.length * BLOCK_BYTES };
}
