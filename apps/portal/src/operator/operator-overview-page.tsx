import type { ReactNode } from 'react';
import { Link } from 'react-router';
import { ErrorNotice, Empty, Skeleton } from '../ui/answer.js';
import { Card, Tiles } from '../ui/card.js';
import { Chip } from '../ui/chip.js';
import { Page } from '../ui/page.js';
import { alarmsOf } from './alarms.js';
import { JobTable } from './jobs-page.js';
import { useJobs, useReceivers, useReplicaNodes, useTenants } from './queries.js';
import { NodeTable } from './replica-nodes-page.js';

export function OperatorOverviewPage(): ReactNode {
  const tenants = useTenants();
  const nodes = useReplicaNodes();
  const receivers = useReceivers();
  const jobs = useJobs();
  const error = tenants.error ?? nodes.error ?? receivers.error ?? jobs.error;
  const isKnown = tenants.data !== undefined && nodes.data !== undefined && receivers.data !== undefined && jobs.data !== undefined;
  return (
    <Page title="Overview" about="The platform now, over all tenants.">
      {error === null ? null : <ErrorNotice error={error} />}
      {isKnown ? null : error === null ? <Skeleton lines={8} /> : null}
      {isKnown ? (
        <>
          <Tiles
            facts={[
              { name: 'Tenants', value: tenants.data.items.length },
              {
                name: 'Replica nodes',
                value: nodes.data.items.filter(({ connected }) => connected).length,
                of: `of ${nodes.data.items.length} connected`,
              },
              {
                name: 'Receivers',
                value: receivers.data.items.filter(({ connected }) => connected).length,
                of: `of ${receivers.data.items.length} connected`,
              },
              { name: 'Uploads now', value: receivers.data.items.reduce((sum, { uploads }) => sum + uploads, 0) },
              { name: 'Running replicas', value: nodes.data.items.reduce((sum, { replicaCount }) => sum + replicaCount, 0) },
            ]}
          />
          <Card title="Alarms" isFlush>
            <Alarms alarms={alarmsOf(nodes.data.items, receivers.data.items, jobs.data.items)} />
          </Card>
          <Card title="Replica cluster" isFlush>
            <NodeTable nodes={nodes.data.items} />
          </Card>
          <Card title="Jobs under way" isFlush>
            <JobTable jobs={jobs.data.items.filter(({ finishedAt }) => finishedAt === null)} />
          </Card>
        </>
      ) : null}
    </Page>
  );
}

function Alarms({ alarms }: { readonly alarms: ReturnType<typeof alarmsOf> }): ReactNode {
  if (alarms.length === 0) return <Empty title="All is well">Nodes and receivers answer, and no job is in trouble.</Empty>;
  return (
    <ul className="attention">
      {alarms.map(({ id, tone, to, subject, message }) => (
        <li key={id}>
          <Chip tone={tone}>{tone === 'bad' ? 'Critical' : 'Warning'}</Chip>
          <span className="what">
            <Link to={to}>{subject}</Link>: {message}
          </span>
        </li>
      ))}
    </ul>
  );
}
