import { useMutation, useQueryClient } from '@tanstack/react-query';
import { type ReactNode, useId, useState } from 'react';
import type { PublicationFormat, PublicationPoints } from '#libs/contracts/common';
import type { RelationshipView } from '#libs/contracts/http';
import { client } from '../api.js';
import { formatSpan } from '../format.js';
import { FormDialog } from '../ui/dialog.js';
import { Select } from '../ui/field.js';

const DAY_MINUTES = 1_440;

const FORMATS = [
  ['vhdx', 'VHDX: Hyper-V from 2012 on, disks up to 64 TiB'],
  ['vhd', 'VHD: whatever reads virtual disks, up to 2 TiB'],
] as const;

/** The command line can say more; these are what most people want. */
const CHOICES = {
  all: { kind: 'all' },
  week: { kind: 'newest', count: 7 },
  days: { kind: 'tier', everyMinutes: DAY_MINUTES, forMinutes: 30 * DAY_MINUTES },
} as const satisfies Record<string, PublicationPoints>;

export function chosenWords(points: PublicationPoints): string {
  if (points.kind === 'all') return 'all recovery points';
  if (points.kind === 'newest') return points.count === 1 ? 'the newest recovery point' : `the newest ${points.count} recovery points`;
  const every = points.everyMinutes === DAY_MINUTES ? 'day' : formatSpan(points.everyMinutes * 60);
  return `one each ${every} for ${formatSpan(points.forMinutes * 60)}`;
}

const OPTIONS = Object.entries(CHOICES).map(([name, points]) => [name, chosenWords(points)] as const);

/** Export-VMSnapshot, for many points at once. It asks for a yes: what is published lies there in the clear. */
export function PublishDialog({
  relationship,
  onClose,
}: {
  readonly relationship: RelationshipView;
  readonly onClose: () => void;
}): ReactNode {
  const queries = useQueryClient();
  const [format, setFormat] = useState<PublicationFormat>('vhdx');
  const [choice, setChoice] = useState<keyof typeof CHOICES>('all');
  const [follow, setFollow] = useState(false);
  const [isAware, setIsAware] = useState(false);
  const [followId, awareId] = [useId(), useId()];
  const publish = useMutation({
    mutationFn: () => client.publications.publish(relationship.id, { format, points: CHOICES[choice], follow }),
    onSuccess: () => {
      onClose();
      return queries.invalidateQueries({ queryKey: ['publications', relationship.id] });
    },
  });
  return (
    <FormDialog
      title={`Publish ${relationship.vmName} as files`}
      submit="Publish"
      isReady={isAware}
      doing={publish}
      onSubmit={() => publish.mutate()}
      onClose={onClose}
    >
      <ul className="will">
        <li>The oldest point becomes a whole disk; each later one holds what changed and stands on the one before.</li>
        <li>They lie in your place in the provider’s store, with a listing, for any S3 client to fetch.</li>
      </ul>
      <Select label="Format" value={format} options={FORMATS} onChange={(value) => setFormat(value as PublicationFormat)} />
      <Select label="Which points" value={choice} options={OPTIONS} onChange={(value) => setChoice(value as keyof typeof CHOICES)} />
      <div className="check">
        <input id={followId} type="checkbox" checked={follow} onChange={(event) => setFollow(event.target.checked)} />
        <label htmlFor={followId}>Keep up with points that come and go.</label>
      </div>
      <div className="check">
        <input id={awareId} type="checkbox" checked={isAware} onChange={(event) => setIsAware(event.target.checked)} />
        <label htmlFor={awareId}>I know that these files are not encrypted: whoever may read that place can read my disks.</label>
      </div>
    </FormDialog>
  );
}
