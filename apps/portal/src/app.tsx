import type { ReactNode } from 'react';
import { Link, Route, Routes } from 'react-router';
import { OperatorAuditPage, TenantAuditPage } from './audit-page.js';
import { JobsPage } from './operator/jobs-page.js';
import { OperatorOverviewPage } from './operator/operator-overview-page.js';
import { ReceiversPage } from './operator/receivers-page.js';
import { ReplicaNodesPage } from './operator/replica-nodes-page.js';
import { TenantsPage } from './operator/tenants-page.js';
import { useSession } from './session/session.js';
import { Shell } from './shell.js';
import { AgentsPage } from './tenant/agents-page.js';
import { FailoverPage } from './tenant/failover-page.js';
import { FailoversPage } from './tenant/failovers-page.js';
import { OverviewPage } from './tenant/overview-page.js';
import { VmPage } from './tenant/vm-page.js';
import { Empty } from './ui/answer.js';
import { Card } from './ui/card.js';

export function App(): ReactNode {
  const { me } = useSession();
  return (
    <Routes>
      <Route element={<Shell />}>
        {me.kind === 'operator' ? (
          <>
            <Route index element={<OperatorOverviewPage />} />
            <Route path="tenants" element={<TenantsPage />} />
            <Route path="replica-nodes" element={<ReplicaNodesPage />} />
            <Route path="receivers" element={<ReceiversPage />} />
            <Route path="jobs" element={<JobsPage />} />
            <Route path="audit" element={<OperatorAuditPage />} />
          </>
        ) : (
          <>
            <Route index element={<OverviewPage />} />
            <Route path="vms/:id" element={<VmPage />} />
            <Route path="failovers" element={<FailoversPage />} />
            <Route path="failovers/:id" element={<FailoverPage />} />
            <Route path="agents" element={<AgentsPage />} />
            <Route path="audit" element={<TenantAuditPage />} />
          </>
        )}
        <Route path="*" element={<NotFound />} />
      </Route>
    </Routes>
  );
}

function NotFound(): ReactNode {
  return (
    <Card>
      <Empty
        title="There is nothing here"
        action={
          <Link to="/" className="button">
            To the overview
          </Link>
        }
      >
        The address is not one of this portal’s.
      </Empty>
    </Card>
  );
}
