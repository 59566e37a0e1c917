import { type CSSProperties, type ReactNode, useLayoutEffect, useRef, useState } from 'react';

const HEIGHT = 190;
const MARGIN = { left: 62, right: 8, top: 10, bottom: 24 };
const WIDTH_BEFORE_LAYOUT = 480;

/** Where the values go, in pixels. */
export interface Plot {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
}

interface ChartFrameProps {
  readonly label: string;
  readonly max: number;
  readonly format: (value: number) => string;
  readonly from: string;
  readonly to: string;
  readonly legend: readonly (readonly [name: string, swatch: string])[];
  readonly children: (plot: Plot) => ReactNode;
}

/** Axes, grid and legend, as wide as there is room, so that the letters keep their size. `label` says in words what the picture shows. */
export function ChartFrame({ label, max, format, from, to, legend, children }: ChartFrameProps): ReactNode {
  const ref = useRef<HTMLElement>(null);
  const [width, setWidth] = useState(WIDTH_BEFORE_LAYOUT);
  useLayoutEffect(() => {
    const element = ref.current;
    if (element === null) return undefined;
    const observer = new ResizeObserver(() => setWidth(element.clientWidth));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  const { left, right, top, bottom } = MARGIN;
  const plot = { left, top, width: Math.max(0, width - left - right), height: HEIGHT - top - bottom };
  return (
    <figure ref={ref} className="chart stack">
      <div className="legend">
        {legend.map(([name, swatch]) => (
          <span key={name} style={{ '--swatch': `var(${swatch})` } as CSSProperties}>
            {name}
          </span>
        ))}
      </div>
      <svg width={width} height={HEIGHT} role="img" aria-label={label}>
        {[0, 0.5, 1].map((share) => {
          const y = top + plot.height * (1 - share);
          return (
            <g key={share}>
              <line className="grid" x1={left} x2={left + plot.width} y1={y} y2={y} />
              <text x={left - 8} y={y + 4} textAnchor="end">
                {format(max * share)}
              </text>
            </g>
          );
        })}
        <text x={left} y={HEIGHT - 5}>
          {from}
        </text>
        <text x={left + plot.width} y={HEIGHT - 5} textAnchor="end">
          {to}
        </text>
        {children(plot)}
      </svg>
    </figure>
  );
}
