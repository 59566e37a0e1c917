import { MIB } from '#libs/kernel';
import type { Bench } from '../bench.js';
import { atMost, budget, timesFaster, type Outcome } from '../budget.js';
import { percentile, secondsOf, takeTurns } from '../measuring.js';
import { pointRows, type Chain } from '../ours/point-rows.js';
import { Restic, resticHistory } from '../peers/restic.js';
import { vhdHistory } from '../peers/vhd-lib.js';

const DROPPED = 4;
const OURS_ROUNDS = 5;
const VHD_ROUNDS = 2;
const HISTORY_POINTS = 6;
const ROW_NOTE = 'ours is the transaction after which they are gone; their bytes are freed by the next collection, in the background';

export const G11 = budget({
  id: 'G11',
  what: 'dropping the 4 oldest of 6 points, durable',
  lines: {
    vhd: { against: 'vhd-lib: merge of VHD files', goal: timesFaster('s', 80) },
    restic: { against: 'restic forget --prune', goal: timesFaster('s', 400) },
  },
  async run(bench) {
    const rows = await pointRows(bench);
    const dropOurs = async (): Promise<number> => {
      const chain = await rows.addChain(HISTORY_POINTS);
      return secondsOf(await chain.expire(DROPPED));
    };
    const onTurn = (name: string, round: number): void => bench.progress.step(`${name}, round ${round}`);
    // The first one also opens connections and plans statements.
    await dropOurs();
    const { ours } = await takeTurns(OURS_ROUNDS, { ours: dropOurs }, onTurn);
    return { vhd: await besideVhdLib(bench, ours, dropOurs, onTurn), restic: await besideRestic(bench, dropOurs, onTurn) };
  },
});

type OnTurn = (name: string, round: number) => void;

async function besideVhdLib(bench: Bench, ours: number, dropOurs: () => Promise<number>, onTurn: OnTurn): Promise<Outcome> {
  const history = await vhdHistory(bench);
  if ('unmeasured' in history) return history;
  const merge = async (): Promise<number> => {
    const copy = await history.copyTo(await bench.diskDir());
    return secondsOf(() => copy.mergeOldest(DROPPED));
  };
  const times = await takeTurns(VHD_ROUNDS, { ours: dropOurs, 'vhd-lib': merge }, onTurn);
  return { ours: Math.max(ours, times.ours), theirs: times['vhd-lib'], note: `${ROW_NOTE}; ${history.version}` };
}

async function besideRestic(bench: Bench, dropOurs: () => Promise<number>, onTurn: OnTurn): Promise<Outcome> {
  const { repository } = await resticHistory(bench);
  const forget = async (): Promise<number> => {
    const copy = await new Restic(repository).copyTo(`${await bench.diskDir()}/repository`);
    return secondsOf(() => copy.run(['forget', '--keep-last', String(HISTORY_POINTS - DROPPED), '--prune'], bench.signal));
  };
  const times = await takeTurns(1, { ours: dropOurs, restic: forget, oursAgain: dropOurs }, onTurn);
  return { ours: (times.ours + times.oursAgain) / 2, theirs: times.restic, note: ROW_NOTE };
}

const [FEW, MANY] = [30, 5000];
const DROPS = 40;

export const G12 = budget({
  id: 'G12',
  what: 'dropping any one point of a 1 TiB disk, durable',
  lines: {
    few: { what: 'dropping any one of 30 points, durable: 9 of 10 take at most', against: null, goal: atMost('s', 0.2) },
    many: { what: 'dropping any one of 5,000 points, durable: 9 of 10 take at most', against: null, goal: atMost('s', 0.2) },
    memory: { what: 'memory it takes', against: null, goal: atMost('MiB', 64) },
  },
  async run(bench) {
    const rows = await pointRows(bench);
    bench.progress.step(`${FEW} and ${MANY} points`);
    const [few, many] = [await rows.addChain(FEW), await rows.addChain(MANY)];
    const spare = await rows.addChain(FEW);
    await spare.remove(spare.pointIds[1]!);
    const before = process.memoryUsage().rss;
    const fewTimes = await dropAcross(few, FEW / 2);
    const manyTimes = await dropAcross(many, DROPS);
    const grown = Math.max(0, process.memoryUsage().rss - before) / MIB;
    // One in ten is left to whatever else the machine does.
    const most = (times: readonly number[]): number => percentile(times, 90);
    const toldBy = (times: readonly number[]): string => `median ${(percentile(times, 50) * 1000).toFixed(1)} ms of ${times.length}`;
    return {
      few: {
        ours: most(fewTimes),
        theirs: null,
        note: `${toldBy(fewTimes)}; the size of the disk does not enter: only rows of points go`,
      },
      many: { ours: most(manyTimes), theirs: null, note: toldBy(manyTimes) },
      memory: { ours: grown, theirs: null },
    };
  },
});

/** Points spread over the whole history. */
async function dropAcross({ pointIds, remove }: Chain, count: number): Promise<number[]> {
  const times: number[] = [];
  for (let drop = 0; drop < count; drop += 1) {
    const id = pointIds[Math.floor((drop * (pointIds.length - 1)) / count)]!;
    times.push(await secondsOf(() => remove(id)));
  }
  return times;
}
