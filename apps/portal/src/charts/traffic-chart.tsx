import type { ReactNode } from 'react';
import type { CycleView } from '#libs/contracts/http';
import { formatBytes } from '#libs/kernel';
import { bytesOrDash, formatClock, formatCycle } from '../format.js';
import { Empty } from '../ui/answer.js';
import { ChartFrame, INNER_HEIGHT, INNER_WIDTH, LEFT, TOP } from './chart-frame.js';
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
  const slot = INNER_WIDTH / Math.max(shown.length, 8);
  const width = Math.max(1.5, Math.min(14, slot * 0.38));
  const height = (bytes: number): number => (bytes === 0 ? 0 : Math.max(1, (INNER_HEIGHT * bytes) / max));
  const bar = (className: string, x: number, bytes: number): ReactNode => (
    <rect
      className={className}
      x={x}
      y={TOP + INNER_HEIGHT - height(bytes)}
      width={width}
      height={height(bytes)}
      rx={Math.min(2, width / 3)}
    />
  );
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
      {shown.map((cycle, index) => {
        const x = LEFT + slot * index + slot / 2;
        return (
          <g key={cycle.id}>
            <title>{`Cycle ${formatCycle(cycle.cycle)}: ${bytesOrDash(cycle.changedBytes)} changed, ${formatBytes(cycle.sentBytes)} sent`}</title>
            {bar('bar-2', x - width - 0.5, cycle.changedBytes ?? 0)}
            {bar(cycle.state === 'failed' ? 'bar-bad' : 'bar-1', x + 0.5, cycle.sentBytes)}
          </g>
        );
      })}
    </ChartFrame>
  );
}
