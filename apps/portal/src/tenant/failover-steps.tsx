import type { ReactNode } from 'react';
import type { FailoverView } from '#libs/contracts/http';
import { formatDuration } from '#libs/kernel';
import { formatWords } from '../format.js';
import { Empty } from '../ui/answer.js';
import { Icon } from '../ui/icon.js';
import { useNow } from '../ui/time.js';

type Step = FailoverView['steps'][number];

const NAMES: Readonly<Record<string, string>> = {
  freeze: 'Freeze the replica at the recovery point',
  fence: 'Shut the primary site out',
  keys: 'Get the keys of the recovery point',
  place: 'Choose a replica node',
  start: 'Open the disks and start the VM',
  boot: 'Wait for the guest’s sign of life',
  stop: 'Stop the VM',
  release: 'Forget what it wrote',
  roles: 'Give the roles back',
};

const TEST_NAMES: Readonly<Record<string, string>> = {
  freeze: 'Hold the recovery point',
  fence: 'Leave the primary site as it is',
  roles: 'Tidy up',
};

const CLASSES: Readonly<Record<Step['state'], string>> = {
  pending: 'pending',
  running: 'active',
  waiting: 'active',
  succeeded: 'done',
  failed: 'failed',
  undoing: 'active',
  undone: 'failed',
};

/** What is done, what is under way and what comes, with how long each took. */
export function FailoverSteps({ failover }: { readonly failover: FailoverView }): ReactNode {
  const now = useNow();
  const names = failover.type === 'Test' ? { ...NAMES, ...TEST_NAMES } : NAMES;
  if (failover.steps.length === 0) return <Empty title="Waiting for a worker">The first step begins in a moment.</Empty>;
  return (
    <ol className="timeline" aria-label="Steps">
      {failover.steps.map((step) => (
        <li key={step.name} className={CLASSES[step.state]}>
          <span className="knot">
            {step.state === 'succeeded' ? <Icon name="check" /> : null}
            {step.state === 'failed' || step.state === 'undone' ? <Icon name="cross" /> : null}
          </span>
          <span className="label">
            {names[step.name] ?? formatWords(step.name)}
            <span className="visually-hidden">: {step.state}</span>
          </span>
          <span className="soft number small">{durationOf(step, now)}</span>
          {step.message === null ? null : <span className="note soft small">{step.message}</span>}
          {step.state === 'undoing' || step.state === 'undone' ? <span className="note soft small">{formatWords(step.state)}</span> : null}
        </li>
      ))}
    </ol>
  );
}

function durationOf({ startedAt, finishedAt, state }: Step, now: number): string {
  if (startedAt === null || (finishedAt === null && CLASSES[state] !== 'active')) return '';
  const end = finishedAt === null ? now : Date.parse(finishedAt);
  return formatDuration(Math.max(0, end - Date.parse(startedAt)));
}
