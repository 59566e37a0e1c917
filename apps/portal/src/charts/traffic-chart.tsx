import type { ReactNode } from 'react';
import type { CycleView } from '#libs/contracts/http';
import { formatBytes } from '#libs/kernel';
import { bytesOrDash, formatClock, formatCycle } from '../format.js';
import { Empty } from '../ui/answer.js';
import { ChartFrame, type Plot } from './chart-frame.js';
import { niceMax } from './scale.js';

const LEGEND = [
  ['Changed', '--series-2'],
  ['Sent', '--series-1'],
] as const;

/** What the VM changed, and what of it had to travel, cycle by cycle. Initial replication is left out: it would flatten the rest. */
export function TrafficChart({ cycles }: { readonly cycles: readonly CycleView[] }): ReactNode {
  const shown = cycles
    .filter(({ kind, state }) => kind !== 'initial' && state !== 'voided')
    .slice(0, 40)
    .reverse();
  if (shown.length === 0) return <Empty title="No cycles yet">The first delta cycle follows initial replication.</Empty>;
  const max = niceMax(Math.max(1, ...shown.map(({ changedBytes, sentBytes }) => Math.max(changedBytes ?? 0, sentBytes))), 1024);
  const total = shown.reduce((sum, { sentBytes }) => sum + sentBytes, 0);
  return (
    <ChartFrame
      label={`Bytes changed and sent in the last ${shown.length} cycles; ${formatBytes(total)} sent in all`}
      max={max}
      format={formatBytes}
      from={formatClock(shown[0]!.startedAt)}
      to={formatClock(shown.at(-1)!.startedAt)}
      legend={LEGEND}
    >
      {(plot) => <Bars plot={plot} cycles={shown} max={max} />}
    </ChartFrame>
  );
}

/** So few cycles are not spread over the whole width. */
const SLOTS_MIN = 8;

function Bars({
  plot: { left, top, width, height },
  cycles,
  max,
}: {
  readonly plot: Plot;
  readonly cycles: readonly CycleView[];
  readonly max: number;
}): ReactNode {
  const slot = width / Math.max(cycles.length, SLOTS_MIN);
  const thickness = Math.max(1.5, Math.min(14, slot * 0.38));
  const bar = (className: string, x: number, bytes: number): ReactNode => {
    const tall = bytes === 0 ? 0 : Math.max(1, (height * bytes) / max);
    return <rect className={className} x={x} y={top + height - tall} width={thickness} height={tall} rx={Math.min(2, thickness / 3)} />;
  };
  return cycles.map((cycle, index) => {
    const middle = left + slot * (index + 0.5);
    return (
      <g key={cycle.id}>
        <title>{`Cycle ${formatCycle(cycle.cycle)}: ${bytesOrDash(cycle.changedBytes)} changed, ${formatBytes(cycle.sentBytes)} sent`}</title>
        {bar('bar-2', middle - thickness - 0.5, cycle.changedBytes ?? 0)}
        {bar(cycle.state === 'failed' ? 'bar-bad' : 'bar-1', middle + 0.5, cycle.sentBytes)}
      </g>
    );
  });
}
