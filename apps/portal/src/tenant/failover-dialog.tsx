import { useMutation, useQueryClient } from '@tanstack/react-query';
import { type ReactNode, useId, useState } from 'react';
import { useNavigate } from 'react-router';
import type { RecoveryPointView, RelationshipView } from '#libs/contracts/http';
import { client } from '../api.js';
import { formatExact, formatSpan } from '../format.js';
import { FormDialog } from '../ui/dialog.js';
import { useNow } from '../ui/time.js';

export interface FailoverWish {
  readonly type: 'Test' | 'Unplanned';
  readonly point: RecoveryPointView;
  readonly isNewest: boolean;
}

interface FailoverDialogProps {
  readonly relationship: RelationshipView;
  readonly wish: FailoverWish;
  readonly onClose: () => void;
}

/** Start-VMFailover, after saying what it will do. */
export function FailoverDialog({ relationship, wish, onClose }: FailoverDialogProps): ReactNode {
  const { type, point, isNewest } = wish;
  const { vmName } = relationship;
  const isTest = type === 'Test';
  const navigate = useNavigate();
  const queries = useQueryClient();
  const [isAware, setIsAware] = useState(false);
  const [takesDamaged, setTakesDamaged] = useState(false);
  const [awareId, damagedId] = [useId(), useId()];
  const lostSeconds = (useNow() - Date.parse(point.instant)) / 1_000;
  const start = useMutation({
    mutationFn: () => client.failovers.start(relationship.id, { type, recoveryPointId: point.id, allowDamaged: takesDamaged }),
    onSuccess: async ({ id }) => {
      await queries.invalidateQueries();
      await navigate(`/failovers/${id}`);
    },
  });
  return (
    <FormDialog
      title={isTest ? `Test failover of ${vmName}` : `Fail over ${vmName}`}
      submit={isTest ? 'Start the test' : 'Fail over now'}
      isDangerous={!isTest}
      isReady={(isTest || isAware) && (takesDamaged || !point.isDamaged)}
      doing={start}
      onSubmit={() => start.mutate()}
      onClose={onClose}
    >
      <dl className="facts">
        <dt>Recovery point</dt>
        <dd>
          {formatExact(point.instant)} {isNewest ? '(the newest)' : ''}
        </dd>
        <dt>{isTest ? 'Its age' : 'Work that is lost'}</dt>
        <dd className="number">{isTest ? formatSpan(lostSeconds) : `what was written in the last ${formatSpan(lostSeconds)}`}</dd>
      </dl>
      {isTest ? (
        <ul className="will">
          <li>A copy of the VM starts on the replica cluster, on an isolated network.</li>
          <li>The VM at your site and its replication go on untouched.</li>
          <li>Ending the test removes the copy and everything it wrote.</li>
        </ul>
      ) : (
        <>
          <ul className="will">
            <li>The VM starts on the replica cluster from this recovery point.</li>
            <li>Your site is shut out at once: its agent can write no more to this replica, and replication stops.</li>
            <li>You can cancel and go back until you complete the failover.</li>
          </ul>
          <div className="check">
            <input id={awareId} type="checkbox" checked={isAware} onChange={(event) => setIsAware(event.target.checked)} />
            <label htmlFor={awareId}>The VM at my site is down, or I have made sure that nobody uses it.</label>
          </div>
        </>
      )}
      {point.isDamaged ? (
        <div className="check">
          <input id={damagedId} type="checkbox" checked={takesDamaged} onChange={(event) => setTakesDamaged(event.target.checked)} />
          <label htmlFor={damagedId}>
            A part of this point is damaged in the store: what is in it cannot be read. I take it all the same.
          </label>
        </div>
      ) : null}
    </FormDialog>
  );
}
