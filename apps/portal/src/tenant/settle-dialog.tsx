import { useMutation, useQueryClient } from '@tanstack/react-query';
import type { ReactNode } from 'react';
import type { FailoverView } from '#libs/contracts/http';
import { client } from '../api.js';
import { FormDialog } from '../ui/dialog.js';

interface SettleDialogProps {
  readonly failover: FailoverView;
  readonly kind: 'complete' | 'cancel';
  readonly onClose: () => void;
}

/** Complete-VMFailover and Stop-VMFailover, after saying what each will do. */
export function SettleDialog({ failover, kind, onClose }: SettleDialogProps): ReactNode {
  const queries = useQueryClient();
  const settle = useMutation({
    mutationFn: () => (kind === 'complete' ? client.failovers.complete(failover.id) : client.failovers.cancel(failover.id)),
    onSuccess: (view) => {
      queries.setQueryData(['failover', failover.id], view);
      onClose();
    },
  });
  const { title, submit, will } = wordsOf(failover, kind);
  return (
    <FormDialog
      title={title}
      submit={submit}
      isDangerous={kind === 'cancel' && failover.type !== 'Test'}
      doing={settle}
      onSubmit={() => settle.mutate()}
      onClose={onClose}
    >
      <ul className="will">
        {will.map((each) => (
          <li key={each}>{each}</li>
        ))}
      </ul>
    </FormDialog>
  );
}

function wordsOf({ vmName, type }: FailoverView, kind: SettleDialogProps['kind']) {
  if (kind === 'complete') {
    return {
      title: `Complete the failover of ${vmName}`,
      submit: 'Complete the failover',
      will: [
        'The VM on the replica cluster is the VM from now on. It keeps running.',
        'The failover cannot be cancelled any more, and no other recovery point can be chosen.',
        'The way back to your site is reverse replication.',
      ],
    };
  }
  if (type === 'Test') {
    return {
      title: `End the test of ${vmName}`,
      submit: 'End the test',
      will: [
        'The copy on the replica cluster is stopped.',
        'Everything that the copy wrote is forgotten.',
        'Replication was not touched and goes on.',
      ],
    };
  }
  return {
    title: `Cancel the failover of ${vmName}`,
    submit: 'Cancel the failover',
    will: [
      'The VM on the replica cluster is stopped.',
      'Everything that it wrote since the failover is forgotten.',
      'Your site is the primary again: start the VM there, and replication goes on.',
    ],
  };
}
