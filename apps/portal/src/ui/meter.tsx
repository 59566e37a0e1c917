import type { ReactNode } from 'react';

interface MeterProps {
  readonly label: string;
  /** 0–1; more is drawn as 1. */
  readonly share: number;
  readonly tone?: 'good' | 'warn' | 'bad';
  readonly children: ReactNode;
}

export function Meter({ label, share, tone = 'good', children }: MeterProps): ReactNode {
  const percent = Math.round(Math.min(1, Math.max(0, share)) * 100);
  return (
    <div className="meter">
      <span className="number nowrap">{children}</span>
      <span className="meter-bar" role="meter" aria-label={label} aria-valuemin={0} aria-valuemax={100} aria-valuenow={percent}>
        <span className={`meter-fill ${tone === 'good' ? '' : tone}`} style={{ width: `${percent}%` }} />
      </span>
    </div>
  );
}
