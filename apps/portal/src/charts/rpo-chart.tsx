import type { ReactNode } from 'react';
import type { CycleView } from '#libs/contracts/http';
import { formatClock, formatFrequency, formatSpan } from '../format.js';
import { Empty } from '../ui/answer.js';
import { ChartFrame, type Plot } from './chart-frame.js';
import { niceMax } from './scale.js';
import { type RpoSample, worstRpos } from './worst-rpos.js';

export function RpoChart({ cycles, targetSeconds }: { readonly cycles: readonly CycleView[]; readonly targetSeconds: number }): ReactNode {
  const samples = worstRpos(cycles);
  if (samples.length < 2) return <Empty title="No history yet">The chart begins with the third recovery point.</Empty>;
  const max = niceSeconds(Math.max(targetSeconds * 1.25, ...samples.map(({ seconds }) => seconds)));
  const worst = Math.max(...samples.map(({ seconds }) => seconds));
  return (
    <ChartFrame
      label={`RPO over the last ${samples.length} recovery points: at worst ${formatSpan(worst)}, target ${formatSpan(targetSeconds)}`}
      max={max}
      format={formatAxis}
      from={formatClock(samples[0]!.endedAt)}
      to={formatClock(samples.at(-1)!.endedAt)}
      legend={[
        ['RPO', '--series-1'],
        [`Target ${formatFrequency(targetSeconds)}`, '--warn'],
      ]}
    >
      {(plot) => <Curve plot={plot} samples={samples} max={max} targetSeconds={targetSeconds} />}
    </ChartFrame>
  );
}

interface CurveProps {
  readonly plot: Plot;
  readonly samples: readonly RpoSample[];
  readonly max: number;
  readonly targetSeconds: number;
}

function Curve({ plot: { left, top, width, height }, samples, max, targetSeconds }: CurveProps): ReactNode {
  const x = (index: number): number => left + (width * index) / (samples.length - 1);
  const y = (seconds: number): number => top + height * (1 - seconds / max);
  const line = samples.map(({ seconds }, index) => `${index === 0 ? 'M' : 'L'}${x(index).toFixed(1)} ${y(seconds).toFixed(1)}`).join(' ');
  return (
    <>
      <path className="area" d={`${line} L${left + width} ${y(0)} L${left} ${y(0)} Z`} />
      <path className="line" d={line} />
      <line className="target" x1={left} x2={left + width} y1={y(targetSeconds)} y2={y(targetSeconds)} />
      {samples.map(({ id, endedAt, seconds }, index) => (
        <circle key={id} className="dot" cx={x(index)} cy={y(seconds)} r={samples.length > 40 ? 2 : 3}>
          <title>{`${formatSpan(seconds)} until ${formatClock(endedAt)}`}</title>
        </circle>
      ))}
    </>
  );
}

const formatAxis = (seconds: number): string =>
  seconds < 60
    ? `${seconds} s`
    : seconds < 3_600
      ? `${Number((seconds / 60).toFixed(1))} min`
      : `${Number((seconds / 3_600).toFixed(1))} h`;

/** Whole halves of minutes and hours on the axis. */
function niceSeconds(seconds: number): number {
  const known = [10, 20, 40, 60, 120, 240, 360, 600, 1_200, 1_800, 3_600, 7_200];
  return known.find((each) => each >= seconds) ?? niceMax(seconds / 3_600) * 3_600;
}
