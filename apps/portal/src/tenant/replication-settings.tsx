import { useMutation, useQueryClient } from '@tanstack/react-query';
import { type ReactNode, useState } from 'react';
import { useNavigate } from 'react-router';
import type { RelationshipView } from '#libs/contracts/http';
import { formatBytes } from '#libs/kernel';
import { client } from '../api.js';
import { useSession } from '../session/session.js';
import { ErrorNotice } from '../ui/answer.js';
import { FormDialog } from '../ui/dialog.js';
import { Select } from '../ui/field.js';
import { spanOf } from './kept-because.js';
import { FREQUENCIES, type Frequency } from './enable-dialog.js';

const RESUMABLE = new Set<RelationshipView['state']>(['Suspended', 'ResynchronizeSuspended', 'Error']);
const SUSPENDABLE = new Set<RelationshipView['state']>(['Replicating', 'InitialReplicationInProgress', 'Resynchronizing']);

/** Set-, Suspend-, Resume- and Remove-VMReplication. */
export function ReplicationSettings({ relationship }: { readonly relationship: RelationshipView }): ReactNode {
  const { id, vmId, policy, state, tag, epoch } = relationship;
  const queries = useQueryClient();
  const { may } = useSession();
  const [isRemoving, setIsRemoving] = useState(false);
  const change = useMutation({
    mutationFn: (work: () => Promise<RelationshipView>) => work(),
    onSettled: () => queries.invalidateQueries({ queryKey: ['vm', vmId] }),
  });
  const setFrequency = (value: string): void =>
    change.mutate(() => client.relationships.changePolicy(id, { ...policy, frequencySeconds: Number(value) as Frequency }));
  const mayWrite = may('replication:write');
  return (
    <div className="card-body stack">
      {change.error === null ? null : <ErrorNotice error={change.error} />}
      <div className="columns">
        <div className="stack">
          {mayWrite ? (
            <Select
              label="Replication frequency"
              hint="Also the target for the RPO. The agent takes it up with its next cycle."
              value={String(policy.frequencySeconds)}
              options={FREQUENCIES}
              onChange={setFrequency}
            />
          ) : null}
          <div className="actions">
            {mayWrite && SUSPENDABLE.has(state) ? (
              <button
                type="button"
                className="button"
                disabled={change.isPending}
                onClick={() => change.mutate(() => client.relationships.suspend(id))}
              >
                Suspend replication
              </button>
            ) : null}
            {mayWrite && RESUMABLE.has(state) ? (
              <button
                type="button"
                className="button primary"
                disabled={change.isPending}
                onClick={() => change.mutate(() => client.relationships.resume(id))}
              >
                Resume replication
              </button>
            ) : null}
            {mayWrite ? (
              <button type="button" className="button danger" onClick={() => setIsRemoving(true)}>
                Remove replication
              </button>
            ) : null}
          </div>
        </div>
        <dl className="facts">
          <dt>History</dt>
          <dd>
            {[
              policy.recoveryHistoryHours === 0 ? 'the newest point' : `hourly points for ${policy.recoveryHistoryHours} h`,
              ...policy.retention.tiers.map(
                ({ everyMinutes, forMinutes }) => `one every ${spanOf(everyMinutes)} for ${spanOf(forMinutes)}`,
              ),
            ].join(', ')}
          </dd>
          <dt>Immutable</dt>
          <dd>{policy.retention.immutableHours === 0 ? 'not promised' : `for ${spanOf(policy.retention.immutableHours * 60)}`}</dd>
          <dt>Bandwidth</dt>
          <dd>{policy.bandwidthBytesPerSecond === null ? 'not limited' : `${formatBytes(policy.bandwidthBytesPerSecond)}/s at most`}</dd>
          <dt>Excluded disks</dt>
          <dd>{policy.excludedDisks.length === 0 ? 'none' : policy.excludedDisks.join(', ')}</dd>
          <dt>Authorization tag</dt>
          <dd>{tag}</dd>
          <dt>Epoch</dt>
          <dd className="number">
            {epoch.incarnation}.{epoch.counter}
          </dd>
        </dl>
      </div>
      {isRemoving ? <RemoveDialog relationship={relationship} onClose={() => setIsRemoving(false)} /> : null}
    </div>
  );
}

function RemoveDialog({ relationship, onClose }: { readonly relationship: RelationshipView; readonly onClose: () => void }): ReactNode {
  const queries = useQueryClient();
  const navigate = useNavigate();
  const remove = useMutation({
    mutationFn: () => client.relationships.remove(relationship.id),
    onSuccess: async () => {
      await queries.invalidateQueries();
      await navigate('/');
    },
  });
  return (
    <FormDialog
      title={`Remove replication of ${relationship.vmName}`}
      submit="Remove replication"
      isDangerous
      doing={remove}
      onSubmit={() => remove.mutate()}
      onClose={onClose}
    >
      <ul className="will">
        <li>The VM at your site is not touched, and is not protected any more.</li>
        <li>Its {relationship.recoveryPointCount} recovery points can no longer be chosen.</li>
        <li>Protecting it again begins with initial replication.</li>
      </ul>
    </FormDialog>
  );
}
