import type { ReactNode } from 'react';
import type { ReceiverView } from '#libs/contracts/http';
import { formatBytes } from '#libs/kernel';
import { Answer, Empty } from '../ui/answer.js';
import { Card } from '../ui/card.js';
import { ConnectionChip } from '../ui/chip.js';
import { Page } from '../ui/page.js';
import { type Column, Table } from '../ui/table.js';
import { Time } from '../ui/time.js';
import { useReceivers } from './queries.js';

const COLUMNS: readonly Column<ReceiverView>[] = [
  {
    head: 'Receiver',
    cell: ({ name, url }) => (
      <>
        <span className="name">{name}</span>
        <br />
        <span className="soft small">{url}</span>
      </>
    ),
  },
  { head: 'State', cell: ({ connected }) => <ConnectionChip isConnected={connected} /> },
  { head: 'Connections', cell: ({ connections }) => connections, isNumber: true },
  { head: 'Uploads', cell: ({ uploads }) => uploads, isNumber: true },
  { head: 'Received', cell: ({ receivedBytes }) => formatBytes(receivedBytes), isNumber: true },
  { head: 'Up since', cell: ({ startedAt }) => <Time at={startedAt} /> },
  { head: 'Last heard of', cell: ({ lastSeenAt }) => <Time at={lastSeenAt} /> },
  { head: 'Version', cell: ({ version }) => version },
];

export function ReceiversPage(): ReactNode {
  const receivers = useReceivers();
  return (
    <Page title="Receivers" about="The only door for agents and replica nodes.">
      <Answer query={receivers}>
        {({ items }) => (
          <Card isFlush>
            <Table
              label="Receivers"
              columns={COLUMNS}
              rows={items}
              keyOf={({ name }) => name}
              empty={<Empty title="No receivers">None has started yet: nothing can be replicated.</Empty>}
            />
          </Card>
        )}
      </Answer>
    </Page>
  );
}
