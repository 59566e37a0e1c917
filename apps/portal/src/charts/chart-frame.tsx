import type { ReactNode } from 'react';

export const WIDTH = 560;
export const HEIGHT = 190;
export const LEFT = 62;
export const RIGHT = 8;
export const TOP = 10;
export const BOTTOM = 24;
export const INNER_WIDTH = WIDTH - LEFT - RIGHT;
export const INNER_HEIGHT = HEIGHT - TOP - BOTTOM;

interface ChartFrameProps {
  readonly label: string;
  readonly max: number;
  readonly format: (value: number) => string;
  readonly from: string;
  readonly to: string;
  readonly legend?: readonly (readonly [name: string, swatch: string])[];
  readonly children: ReactNode;
}

/** Axes, grid and legend. `label` says in words what the picture shows. */
export function ChartFrame({ label, max, format, from, to, legend = [], children }: ChartFrameProps): ReactNode {
  return (
    <figure className="chart stack">
      {legend.length === 0 ? null : (
        <div className="legend">
          {legend.map(([name, swatch]) => (
            <span key={name} style={{ '--swatch': `var(${swatch})` } as React.CSSProperties}>
              {name}
            </span>
          ))}
        </div>
      )}
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={label}>
        {[0, 0.5, 1].map((share) => {
          const y = TOP + INNER_HEIGHT * (1 - share);
          return (
            <g key={share}>
              <line className="grid" x1={LEFT} x2={WIDTH - RIGHT} y1={y} y2={y} />
              <text x={LEFT - 8} y={y + 4} textAnchor="end">
                {format(max * share)}
              </text>
            </g>
          );
        })}
        <text x={LEFT} y={HEIGHT - 5}>
          {from}
        </text>
        <text x={WIDTH - RIGHT} y={HEIGHT - 5} textAnchor="end">
          {to}
        </text>
        {children}
      </svg>
    </figure>
  );
}
