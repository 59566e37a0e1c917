import { type ReactNode, useState } from 'react';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import type { RecoveryPointView, RelationshipView } from '#libs/contracts/http';
import { formatBytes } from '#libs/kernel';
import { client } from '../api.js';
import { formatExact } from '../format.js';
import { useSession } from '../session/session.js';
import { Answer, Empty, ErrorNotice } from '../ui/answer.js';
import { Chip } from '../ui/chip.js';
import { type Column, Table } from '../ui/table.js';
import { Time } from '../ui/time.js';
import { FailoverDialog, type FailoverWish } from './failover-dialog.js';
import { keptBecause } from './kept-because.js';
import { useRecoveryPoints, useRetentionPlan } from './queries.js';

/** Where one can go back to, newest first. */
export function RecoveryPoints({ relationship }: { readonly relationship: RelationshipView }): ReactNode {
  const points = useRecoveryPoints(relationship.id);
  const plan = useRetentionPlan(relationship.id);
  const queries = useQueryClient();
  const pinning = useMutation({
    mutationFn: ({ id, pin }: RecoveryPointView) => (pin === null ? client.recoveryPoints.pin(id, '') : client.recoveryPoints.unpin(id)),
    onSettled: () =>
      Promise.all(['recovery-points', 'retention-plan'].map((key) => queries.invalidateQueries({ queryKey: [key, relationship.id] }))),
  });
  const { may } = useSession();
  const [wish, setWish] = useState<FailoverWish | null>(null);
  const newestId = points.data?.items[0]?.id;
  const planned = new Map(plan.data?.points.map((point) => [point.id, point]));
  const button = (type: FailoverWish['type'], text: string, point: RecoveryPointView): ReactNode => (
    <button
      type="button"
      className="button small"
      disabled={type === 'Unplanned' && relationship.mode === 'Replica'}
      onClick={() => setWish({ type, point, isNewest: point.id === newestId })}
    >
      {text}
    </button>
  );
  const columns: readonly Column<RecoveryPointView>[] = [
    {
      head: 'Recovery point',
      cell: ({ id, instant, consistency, disks, isDamaged }) => (
        <>
          <span className="name nowrap">
            {formatExact(instant)} {id === newestId ? <span className="soft small">newest</span> : null}
            {isDamaged ? <Chip tone="bad">Damaged</Chip> : null}
          </span>
          <br />
          <span className="soft small">
            {consistency}-consistent · {disks.length} {disks.length === 1 ? 'disk' : 'disks'}
          </span>
        </>
      ),
    },
    { head: 'Age', cell: ({ instant }) => <Time at={instant} /> },
    {
      head: 'Kept',
      cell: ({ id, pin }) => {
        const found = planned.get(id);
        return <span className="soft small">{found === undefined ? (pin?.note ?? '') : keptBecause(found)}</span>;
      },
    },
    { head: 'Sent', cell: ({ sentBytes }) => formatBytes(sentBytes), isNumber: true },
    {
      head: '',
      cell: (point) => (
        <>
          {may('replication:write') ? (
            <button type="button" className="button small" disabled={pinning.isPending} onClick={() => pinning.mutate(point)}>
              {point.pin === null ? 'Pin' : 'Unpin'}
            </button>
          ) : null}
          {may('failover:write') ? (
            <>
              {button('Test', 'Test failover', point)}
              {button('Unplanned', 'Fail over to this point', point)}
            </>
          ) : null}
        </>
      ),
    },
  ];
  return (
    <Answer query={points}>
      {({ items }) => (
        <>
          {pinning.error === null ? null : <ErrorNotice error={pinning.error} />}
          <Table
            label="Recovery points"
            columns={columns}
            rows={items}
            keyOf={({ id }) => id}
            empty={<Empty title="No recovery points yet">The first one comes with the end of initial replication.</Empty>}
          />
          {wish === null ? null : <FailoverDialog relationship={relationship} wish={wish} onClose={() => setWish(null)} />}
        </>
      )}
    </Answer>
  );
}
