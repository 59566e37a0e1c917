import type { ReactNode } from 'react';
import type { JobView } from '#libs/contracts/http';
import { formatWords } from '../format.js';
import { Answer, Empty } from '../ui/answer.js';
import { Card } from '../ui/card.js';
import { Chip, type Tone } from '../ui/chip.js';
import { Page } from '../ui/page.js';
import { type Column, Table } from '../ui/table.js';
import { Time } from '../ui/time.js';
import { useJobs } from './queries.js';

const TONES: Readonly<Record<JobView['state'], Tone>> = {
  running: 'info',
  waiting: 'info',
  retrying: 'warn',
  undoing: 'warn',
  succeeded: 'good',
  failed: 'bad',
};

const COLUMNS: readonly Column<JobView>[] = [
  {
    head: 'Job',
    cell: ({ kind, subject }) => (
      <span className="name" title={subject ?? undefined}>
        {formatWords(kind)}
      </span>
    ),
  },
  { head: 'Tenant', cell: ({ tenantName }) => tenantName ?? 'Platform' },
  { head: 'State', cell: ({ state }) => <Chip tone={TONES[state]}>{formatWords(state)}</Chip> },
  { head: 'Step', cell: ({ step }) => (step === null ? '' : formatWords(step)) },
  { head: 'Attempts', cell: ({ attempts }) => attempts, isNumber: true },
  { head: 'Fault', cell: ({ failureCode }) => (failureCode === null ? '' : <code>{failureCode}</code>) },
  { head: 'Started', cell: ({ startedAt }) => <Time at={startedAt} /> },
  { head: 'Ended', cell: ({ finishedAt }) => <Time at={finishedAt} never="under way" /> },
];

export function JobTable({ jobs }: { readonly jobs: readonly JobView[] }): ReactNode {
  return (
    <Table
      label="Jobs"
      columns={COLUMNS}
      rows={jobs}
      keyOf={({ id }) => id}
      empty={<Empty title="No jobs">Failovers and other work of many steps appear here.</Empty>}
    />
  );
}

export function JobsPage(): ReactNode {
  const jobs = useJobs();
  return (
    <Page title="Jobs" about="Work of many steps, over all tenants: what is under way first.">
      <Answer query={jobs}>
        {({ items }) => (
          <Card isFlush>
            <JobTable jobs={items} />
          </Card>
        )}
      </Answer>
    </Page>
  );
}
