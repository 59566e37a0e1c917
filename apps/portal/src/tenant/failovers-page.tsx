import type { ReactNode } from 'react';
import { Link } from 'react-router';
import type { FailoverView } from '#libs/contracts/http';
import { formatExact, formatSpan } from '../format.js';
import { Answer, Empty } from '../ui/answer.js';
import { Card } from '../ui/card.js';
import { FailoverChip } from '../ui/chip.js';
import { Page } from '../ui/page.js';
import { type Column, Table } from '../ui/table.js';
import { Time } from '../ui/time.js';
import { useFailovers } from './queries.js';

const COLUMNS: readonly Column<FailoverView>[] = [
  {
    head: 'VM',
    cell: ({ id, vmName, type }) => (
      <>
        <Link className="name" to={`/failovers/${id}`}>
          {vmName}
        </Link>
        <br />
        <span className="soft small">{type === 'Test' ? 'Test' : type}</span>
      </>
    ),
  },
  { head: 'State', cell: ({ state }) => <FailoverChip state={state} /> },
  { head: 'Recovery point', cell: ({ recoveryPointInstant }) => <span className="nowrap">{formatExact(recoveryPointInstant)}</span> },
  { head: 'Started', cell: ({ requestedAt }) => <Time at={requestedAt} /> },
  { head: 'RTO', cell: ({ rtoSeconds }) => (rtoSeconds === null ? '–' : formatSpan(rtoSeconds)), isNumber: true },
];

export function FailoverTable({ failovers }: { readonly failovers: readonly FailoverView[] }): ReactNode {
  return (
    <Table
      label="Failovers"
      columns={COLUMNS}
      rows={failovers}
      keyOf={({ id }) => id}
      empty={
        <Empty title="No failovers yet">Run a test failover from a VM’s page: it proves that the VM comes up, and touches nothing.</Empty>
      }
    />
  );
}

export function FailoversPage(): ReactNode {
  const failovers = useFailovers();
  return (
    <Page title="Failovers" about="Every test and every real one, newest first.">
      <Answer query={failovers}>
        {({ items }) => (
          <Card isFlush>
            <FailoverTable failovers={items} />
          </Card>
        )}
      </Answer>
    </Page>
  );
}
