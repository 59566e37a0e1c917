import type { ReactNode } from 'react';
import type { CycleState, FailoverState, ReplicationHealth } from '#libs/contracts/common';

export type Tone = 'good' | 'warn' | 'bad' | 'info' | 'none';

/** Told apart by shape as well as by colour. */
const SHAPES: Readonly<Record<Tone, ReactNode>> = {
  good: <circle cx="5" cy="5" r="4" />,
  warn: <path d="M5 .8 9.7 9.2H.3z" />,
  bad: <path d="M1 1h8v8H1z" />,
  info: <path d="m5 .3 4.7 4.7L5 9.7.3 5z" />,
  none: <circle cx="5" cy="5" r="3.2" fill="none" stroke="currentColor" strokeWidth="1.6" />,
};

export function Chip({ tone, children }: { readonly tone: Tone; readonly children: ReactNode }): ReactNode {
  return (
    <span className={`chip ${tone}`}>
      <svg viewBox="0 0 10 10" fill="currentColor" aria-hidden>
        {SHAPES[tone]}
      </svg>
      {children}
    </span>
  );
}

const HEALTH_TONES: Readonly<Record<ReplicationHealth, Tone>> = { Normal: 'good', Warning: 'warn', Critical: 'bad', NotApplicable: 'none' };

export function HealthChip({ health }: { readonly health: ReplicationHealth | null }): ReactNode {
  if (health === null) return <Chip tone="none">Not protected</Chip>;
  return <Chip tone={HEALTH_TONES[health]}>{health === 'NotApplicable' ? 'Not applicable' : health}</Chip>;
}

const FAILOVER_TONES: Readonly<Record<FailoverState, Tone>> = {
  Queued: 'info',
  InProgress: 'info',
  Running: 'good',
  Completed: 'good',
  Cancelling: 'warn',
  Cancelled: 'none',
  Failed: 'bad',
};

export function FailoverChip({ state }: { readonly state: FailoverState }): ReactNode {
  return <Chip tone={FAILOVER_TONES[state]}>{state === 'InProgress' ? 'In progress' : state}</Chip>;
}

const CYCLE_TONES: Readonly<Record<CycleState, Tone>> = { open: 'info', committed: 'good', voided: 'none', failed: 'bad' };
const CYCLE_NAMES: Readonly<Record<CycleState, string>> = { open: 'Running', committed: 'Committed', voided: 'Voided', failed: 'Failed' };

export function CycleChip({ state }: { readonly state: CycleState }): ReactNode {
  return <Chip tone={CYCLE_TONES[state]}>{CYCLE_NAMES[state]}</Chip>;
}

export function ConnectionChip({ isConnected }: { readonly isConnected: boolean }): ReactNode {
  return <Chip tone={isConnected ? 'good' : 'bad'}>{isConnected ? 'Connected' : 'Silent'}</Chip>;
}
