import { useMutation, useQueryClient } from '@tanstack/react-query';
import { type ReactNode, useState } from 'react';
import type { PublicationState } from '#libs/contracts/common';
import type { PublicationView, RelationshipView } from '#libs/contracts/http';
import { formatBytes } from '#libs/kernel';
import { client } from '../api.js';
import { useSession } from '../session/session.js';
import { Answer, Empty, ErrorNotice } from '../ui/answer.js';
import { Card } from '../ui/card.js';
import { Chip, type Tone } from '../ui/chip.js';
import { FormDialog } from '../ui/dialog.js';
import { Meter } from '../ui/meter.js';
import { type Column, Table } from '../ui/table.js';
import { chosenWords, PublishDialog } from './publish-dialog.js';
import { usePublications } from './queries.js';

/** Recovery points as files that others can open, in the tenant's place in the store. */
export function Publications({ relationship }: { readonly relationship: RelationshipView }): ReactNode {
  const publications = usePublications(relationship.id);
  const { may } = useSession();
  const [dialog, setDialog] = useState<'publish' | PublicationView | null>(null);
  const queries = useQueryClient();
  const again = (): Promise<void> => queries.invalidateQueries({ queryKey: ['publications', relationship.id] });
  const stop = useMutation({ mutationFn: (id: string) => client.publications.stop(id), onSettled: again });
  const mayWrite = may('replication:write');
  const columns: readonly Column<PublicationView>[] = [
    ...COLUMNS,
    {
      head: '',
      cell: (publication) =>
        mayWrite ? (
          <>
            {publication.state === 'Active' || publication.state === 'Failed' ? (
              <button type="button" className="button small" disabled={stop.isPending} onClick={() => stop.mutate(publication.id)}>
                Stop
              </button>
            ) : null}
            {publication.state === 'Deleting' ? null : (
              <button type="button" className="button small danger" onClick={() => setDialog(publication)}>
                Delete
              </button>
            )}
          </>
        ) : null,
    },
  ];
  const publish = mayWrite ? (
    <button type="button" className="button small" onClick={() => setDialog('publish')}>
      Publish files
    </button>
  ) : null;
  return (
    <Card title="Published files" actions={publish} isFlush>
      {stop.error === null ? null : <ErrorNotice error={stop.error} />}
      <Answer query={publications}>
        {(rows) => (
          <Table
            label="Publications"
            columns={columns}
            rows={rows}
            keyOf={({ id }) => id}
            empty={
              <Empty title="Nothing is published">
                Recovery points can lie beside the replica as VHD or VHDX files, in the clear, for any hypervisor to open without this
                provider’s help.
              </Empty>
            }
          />
        )}
      </Answer>
      {dialog === 'publish' ? <PublishDialog relationship={relationship} onClose={() => setDialog(null)} /> : null}
      {dialog === null || dialog === 'publish' ? null : (
        <DeleteDialog publication={dialog} onDeleted={again} onClose={() => setDialog(null)} />
      )}
    </Card>
  );
}

const TONES: Readonly<Record<PublicationState, Tone>> = {
  Active: 'info',
  Completed: 'good',
  Stopped: 'none',
  Failed: 'bad',
  Deleting: 'warn',
};

const COLUMNS: readonly Column<PublicationView>[] = [
  {
    head: 'Files',
    cell: ({ format, diskOrdinal, points, follow, location }) => (
      <>
        <span className="name">{format.toUpperCase()}</span>{' '}
        <span className="soft small">
          {diskOrdinal === null ? 'all disks' : `disk ${diskOrdinal}`} · {chosenWords(points)}
          {follow ? ' · follows' : ''}
        </span>
        <br />
        <code className="small wrap">{location}</code>
      </>
    ),
  },
  {
    head: 'State',
    cell: ({ state, failureCode, failureMessage, waitingCount, follow }) => (
      <>
        <Chip tone={state === 'Active' && waitingCount === 0 ? 'good' : TONES[state]}>
          {state === 'Active' ? (waitingCount === 0 && follow ? 'Up to date' : 'In progress') : state}
        </Chip>
        {failureMessage === null ? null : (
          <div className="soft small" title={failureCode ?? undefined}>
            {failureMessage}
          </div>
        )}
      </>
    ),
  },
  { head: 'Ready', cell: (publication) => <Ready publication={publication} />, isNumber: true },
  { head: 'Stored', cell: ({ storedBytes }) => formatBytes(storedBytes), isNumber: true },
];

function Ready({ publication }: { readonly publication: PublicationView }): ReactNode {
  const { fileCount, waitingCount, doneBytes, totalBytes } = publication;
  if (waitingCount === null || waitingCount === 0) return fileCount;
  const underWay = totalBytes === null || totalBytes === 0 ? 0 : doneBytes / totalBytes;
  return (
    <Meter label="Files that are ready" share={(fileCount + underWay) / (fileCount + waitingCount)}>
      {fileCount} of {fileCount + waitingCount}
    </Meter>
  );
}

interface DeleteDialogProps {
  readonly publication: PublicationView;
  readonly onDeleted: () => Promise<void>;
  readonly onClose: () => void;
}

function DeleteDialog({ publication, onDeleted, onClose }: DeleteDialogProps): ReactNode {
  const remove = useMutation({
    mutationFn: () => client.publications.delete(publication.id),
    onSuccess: () => {
      onClose();
      return onDeleted();
    },
  });
  return (
    <FormDialog
      title={`Delete the published files of ${publication.vmName}`}
      submit="Delete the files"
      isDangerous
      doing={remove}
      onSubmit={() => remove.mutate()}
      onClose={onClose}
    >
      <ul className="will">
        <li>
          {publication.fileCount === 1 ? 'One file goes' : `${publication.fileCount} files go`}, {formatBytes(publication.storedBytes)}.
          What opens them elsewhere stops working.
        </li>
        <li>Recovery points and replication are not touched; the files can be made again from them.</li>
      </ul>
    </FormDialog>
  );
}
