import { useInfiniteQuery } from '@tanstack/react-query';
import { type ReactNode, useState } from 'react';
import type { AuditPageQuery, Page as PageOf } from '#libs/client';
import type { AuditEventView } from '#libs/contracts/http';
import { client, POLL_SLOW_MS } from './api.js';
import { formatWords } from './format.js';
import { Empty, ErrorNotice, Skeleton } from './ui/answer.js';
import { Card } from './ui/card.js';
import { Chip } from './ui/chip.js';
import { Field, Select } from './ui/field.js';
import { Page } from './ui/page.js';
import { type Column, Table } from './ui/table.js';
import { Time } from './ui/time.js';

const COLUMNS: readonly Column<AuditEventView>[] = [
  {
    head: 'What',
    cell: ({ action }) => (
      <span className="name" title={action}>
        {formatWords(action)}
      </span>
    ),
  },
  { head: 'When', cell: ({ at }) => <Time at={at} /> },
  { head: 'Who', cell: ({ actorName, actorKind }) => <span title={actorKind}>{actorName}</span> },
  {
    head: 'Outcome',
    cell: ({ outcome }) => <Chip tone={outcome === 'done' ? 'good' : 'bad'}>{outcome === 'done' ? 'Done' : 'Refused'}</Chip>,
  },
  { head: 'Details', cell: ({ details }) => <Details details={details} /> },
  { head: 'No.', cell: ({ seq }) => seq, isNumber: true },
];

function Details({ details }: Pick<AuditEventView, 'details'>): ReactNode {
  if (Object.keys(details).length === 0) return null;
  return <span className="soft small wrap">{detailsText(details)}</span>;
}

function detailsText(details: AuditEventView['details']): string {
  return Object.entries(details)
    .map(([name, value]) => `${formatWords(name).toLowerCase()}: ${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join(', ');
}

export function TenantAuditPage(): ReactNode {
  return (
    <AuditPage about="Everything that people and machines did, and what was refused." load={(query) => client.tenant.auditEvents(query)} />
  );
}

export function OperatorAuditPage(): ReactNode {
  return <AuditPage about="What the provider’s people and machines did." load={(query) => client.operator.auditEvents(query)} />;
}

interface AuditPageProps {
  readonly about: string;
  readonly load: (query: AuditPageQuery) => Promise<PageOf<AuditEventView>>;
}

function AuditPage({ about, load }: AuditPageProps): ReactNode {
  const [outcome, setOutcome] = useState('');
  const [action, setAction] = useState('');
  const { data, error, isPending, hasNextPage, fetchNextPage, isFetchingNextPage } = useInfiniteQuery({
    queryKey: ['audit', outcome, action],
    queryFn: ({ signal, pageParam }) =>
      load({
        signal,
        limit: 50,
        after: pageParam,
        action: action === '' ? undefined : action,
        outcome: outcome === '' ? undefined : (outcome as AuditEventView['outcome']),
      }),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: ({ next }) => next ?? undefined,
    refetchInterval: POLL_SLOW_MS,
    placeholderData: (before) => before,
  });
  return (
    <Page title="Audit log" about={about}>
      <div className="columns">
        <Field label="Action" value={action} onChange={setAction} placeholder="failover." hint="An action, or how some begin." />
        <Select
          label="Outcome"
          value={outcome}
          options={[
            ['', 'All'],
            ['done', 'Done'],
            ['refused', 'Refused'],
          ]}
          onChange={setOutcome}
        />
      </div>
      {error === null ? null : <ErrorNotice error={error} />}
      {isPending ? <Skeleton lines={8} /> : null}
      {data === undefined ? null : (
        <Card isFlush>
          <Table
            label="Audit events"
            columns={COLUMNS}
            rows={data.pages.flatMap(({ items }) => items)}
            keyOf={({ hash }) => hash}
            isWhole
            empty={<Empty title="Nothing found">No event fits what you asked for.</Empty>}
          />
        </Card>
      )}
      {hasNextPage ? (
        <div>
          <button type="button" className="button" disabled={isFetchingNextPage} onClick={() => void fetchNextPage()}>
            Show older events
          </button>
        </div>
      ) : null}
    </Page>
  );
}
