import { useMutation, useQueryClient } from '@tanstack/react-query';
import type { ReactNode } from 'react';
import type { ChainCheckView, ChainDamage, RecoveryPointView, RelationshipView } from '#libs/contracts/http';
import { formatBytes } from '#libs/kernel';
import { client } from '../api.js';
import { formatExact } from '../format.js';
import { useSession } from '../session/session.js';
import { Answer, Empty, ErrorNotice } from '../ui/answer.js';
import { Card } from '../ui/card.js';
import { Chip } from '../ui/chip.js';
import { Meter } from '../ui/meter.js';
import { type Column, Table } from '../ui/table.js';
import { Time } from '../ui/time.js';
import { isCheckUnderWay, useChainChecks, useRecoveryPoints } from './queries.js';

/** Whether all of it is there and is what it must be, asked whenever somebody wants to know. No key is needed for it. */
export function ChainChecks({ relationship }: { readonly relationship: RelationshipView }): ReactNode {
  const checks = useChainChecks(relationship.id);
  const queries = useQueryClient();
  const { may } = useSession();
  const check = useMutation({
    mutationFn: (bytes: boolean) => client.chains.check(relationship.id, { bytes }),
    onSettled: () => queries.invalidateQueries({ queryKey: ['chain-checks', relationship.id] }),
  });
  const isBusy = check.isPending || checks.data?.items.some(isCheckUnderWay) === true;
  const button = (bytes: boolean, text: string): ReactNode => (
    <button type="button" className="button small" disabled={isBusy} onClick={() => check.mutate(bytes)}>
      {text}
    </button>
  );
  const actions = may('replication:write') ? (
    <span>
      {button(false, 'Check what is there')} {button(true, 'Check every byte')}
    </span>
  ) : null;
  return (
    <Card title="Checks" actions={actions} isFlush>
      {check.error === null ? null : <ErrorNotice error={check.error} />}
      <Answer query={checks}>
        {({ items }) => (
          <>
            <Table
              label="Checks of the chain"
              columns={CHECKS}
              rows={items}
              keyOf={({ id }) => id}
              empty={
                <Empty title="Never checked on demand">
                  The provider reads everything again by itself, every byte at least every 30 days. A check tells at once.
                </Empty>
              }
            />
            <Damage relationshipId={relationship.id} check={items.find(({ damage }) => damage.length > 0)} />
          </>
        )}
      </Answer>
    </Card>
  );
}

const CHECKS: readonly Column<ChainCheckView>[] = [
  {
    head: 'Check',
    cell: ({ bytes, createdAt }) => (
      <>
        <span className="name">{bytes ? 'Every byte' : 'What is there'}</span>{' '}
        <span className="soft small">
          <Time at={createdAt} />
        </span>
      </>
    ),
  },
  { head: 'Result', cell: (check) => <Result check={check} /> },
  { head: 'Objects', cell: ({ checkedObjects }) => checkedObjects, isNumber: true },
  { head: 'Read', cell: ({ bytes, checkedBytes }) => (bytes ? formatBytes(checkedBytes) : '–'), isNumber: true },
];

function Result({ check }: { readonly check: ChainCheckView }): ReactNode {
  const { state, damage, failureCode, failureMessage, checkedObjects, totalObjects } = check;
  if (state === 'Failed')
    return (
      <>
        <Chip tone="warn">Not finished</Chip>
        <div className="soft small" title={failureCode ?? undefined}>
          {failureMessage}
        </div>
      </>
    );
  if (state === 'Completed')
    return damage.length === 0 ? <Chip tone="good">Whole</Chip> : <Chip tone="bad">{counted(damage.length, 'object')} damaged</Chip>;
  if (totalObjects === null) return <Chip tone="info">{state === 'Queued' ? 'Waiting' : 'Looking'}</Chip>;
  return (
    <Meter label="Objects that were looked at" share={totalObjects === 0 ? 1 : checkedObjects / totalObjects}>
      {checkedObjects} of {totalObjects}
    </Meter>
  );
}

const counted = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`;

/** What the newest check that found any says, and which recovery points it touches. */
function Damage({ relationshipId, check }: { readonly relationshipId: string; readonly check: ChainCheckView | undefined }): ReactNode {
  const points = useRecoveryPoints(relationshipId);
  if (check === undefined) return null;
  const known = new Map(points.data?.items.map((point) => [point.id, point]));
  const columns: readonly Column<ChainDamage>[] = [
    {
      head: 'Damaged object',
      cell: ({ kind, object }) => (
        <>
          <span className="name">{KINDS[kind]}</span> <span className="soft small wrap">{object}</span>
        </>
      ),
    },
    {
      head: 'What is wrong',
      cell: ({ code, message }) => (
        <span>
          {message} <code className="small">{code}</code>
        </span>
      ),
    },
    {
      head: 'Recovery points',
      cell: ({ kind, pointIds }) => (kind === 'index' ? <span className="soft">none: it is done without</span> : touched(pointIds, known)),
    },
  ];
  return <Table label="Damage" columns={columns} rows={check.damage} keyOf={({ object }) => object} empty={null} />;
}

const KINDS: Readonly<Record<ChainDamage['kind'], string>> = { manifest: 'Manifest', list: 'List', segment: 'Segment', index: 'Index' };

function touched(pointIds: readonly string[], known: ReadonlyMap<string, RecoveryPointView>): string {
  const instants = pointIds.flatMap((id) => known.get(id)?.instant ?? []).sort();
  if (pointIds.length === 0) return 'none any more';
  if (instants.length === 0) return String(pointIds.length);
  const span = instants.length === 1 ? formatExact(instants[0]!) : `${formatExact(instants[0]!)} to ${formatExact(instants.at(-1)!)}`;
  return `${pointIds.length}: ${span}`;
}
