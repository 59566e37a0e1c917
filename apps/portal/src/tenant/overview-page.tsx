import { type ReactNode, useState } from 'react';
import { Link } from 'react-router';
import { isFailoverEnded } from '#libs/client';
import type { FailoverView } from '#libs/contracts/http';
import { formatBytes } from '#libs/kernel';
import { formatSpan, formatWords } from '../format.js';
import { useSession } from '../session/session.js';
import { Answer, Empty } from '../ui/answer.js';
import { Card, Tiles } from '../ui/card.js';
import { FailoverChip, HealthChip } from '../ui/chip.js';
import { Page } from '../ui/page.js';
import { type Column, Table } from '../ui/table.js';
import { Time } from '../ui/time.js';
import { EnableDialog } from './enable-dialog.js';
import { type Protected, useFailovers, useVms } from './queries.js';
import { RpoMeter } from './rpo-meter.js';
import { rpoTone } from './rpo-tone.js';

export function OverviewPage(): ReactNode {
  const vms = useVms();
  const failovers = useFailovers();
  const [enabling, setEnabling] = useState<Protected | null>(null);
  const { me } = useSession();
  return (
    <Page title="Overview" about={`What ${me.tenant?.name ?? 'you'} can rely on now.`}>
      <Answer query={vms} lines={8}>
        {(rows) => (
          <>
            <Tiles facts={factsOf(rows)} />
            <Attention rows={rows} failovers={failovers.data?.items ?? []} />
            <Card title="Virtual machines" isFlush>
              <Table
                label="Virtual machines"
                columns={columnsOf(setEnabling)}
                rows={rows}
                keyOf={({ vm }) => vm.id}
                empty={
                  <Empty
                    title="No virtual machines yet"
                    action={
                      <Link to="/agents" className="button primary">
                        Enrol an agent
                      </Link>
                    }
                  >
                    An agent on your virtualization host reports its VMs here. Then you choose which of them to protect.
                  </Empty>
                }
              />
            </Card>
          </>
        )}
      </Answer>
      {enabling === null ? null : <EnableDialog vm={enabling.vm} onClose={() => setEnabling(null)} />}
    </Page>
  );
}

function factsOf(rows: readonly Protected[]) {
  const relationships = rows.flatMap(({ relationship }) => (relationship === null ? [] : [relationship]));
  const sick = relationships.filter(({ health }) => health === 'Critical' || health === 'Warning');
  const isCritical = sick.some(({ health }) => health === 'Critical');
  const worst = relationships
    .filter(({ rpoSeconds }) => rpoSeconds !== null)
    .sort((a, b) => b.rpoSeconds! - a.rpoSeconds!)
    .at(0);
  return [
    { name: 'Protected', value: relationships.length, of: `of ${rows.length} VMs` },
    { name: 'Need attention', value: sick.length, tone: isCritical ? 'bad' : sick.length > 0 ? 'warn' : 'good' },
    {
      name: 'Highest RPO',
      value: worst === undefined ? '–' : formatSpan(worst.rpoSeconds!),
      tone: worst === undefined ? undefined : rpoTone(worst),
    },
    { name: 'Recovery points', value: relationships.reduce((sum, { recoveryPointCount }) => sum + recoveryPointCount, 0) },
    { name: 'Stored', value: formatBytes(relationships.reduce((sum, { storedBytes }) => sum + storedBytes, 0)) },
  ] as const;
}

/** Running failovers, then what is not well, each with what mends it. */
function Attention({ rows, failovers }: { readonly rows: readonly Protected[]; readonly failovers: readonly FailoverView[] }): ReactNode {
  const live = failovers.filter((failover) => !isFailoverEnded(failover));
  const sick = rows.filter(({ relationship }) => (relationship?.healthDetails.length ?? 0) > 0);
  if (live.length + sick.length === 0) return null;
  return (
    <Card title="Needs attention first" isFlush>
      <ul className="attention">
        {live.map(({ id, state, vmName, type, requestedAt }) => (
          <li key={id}>
            <FailoverChip state={state} />
            <span className="what">
              <Link to={`/failovers/${id}`}>{vmName}</Link>: {type === 'Test' ? 'test failover' : 'failover'}, started{' '}
              <Time at={requestedAt} />
            </span>
          </li>
        ))}
        {sick.map(({ vm, relationship }) => (
          <li key={vm.id}>
            <HealthChip health={relationship!.health} />
            <span className="what">
              <Link to={`/vms/${vm.id}`}>{vm.name}</Link>: {relationship!.healthDetails[0]!.message}
              {relationship!.healthDetails.length > 1 ? (
                <span className="soft"> And {relationship!.healthDetails.length - 1} more.</span>
              ) : null}
            </span>
          </li>
        ))}
      </ul>
    </Card>
  );
}

function columnsOf(onEnable: (row: Protected) => void): readonly Column<Protected>[] {
  return [
    {
      head: 'VM',
      cell: ({ vm }) => (
        <>
          <Link className="name" to={`/vms/${vm.id}`}>
            {vm.name}
          </Link>
          <br />
          <span className="soft small">
            {vm.power} · {vm.definition.disks.length} {vm.definition.disks.length === 1 ? 'disk' : 'disks'},{' '}
            {formatBytes(vm.definition.disks.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0))}
          </span>
        </>
      ),
    },
    { head: 'Health', cell: ({ relationship }) => <HealthChip health={relationship?.health ?? null} /> },
    { head: 'State', cell: ({ vm, relationship }) => (relationship === null ? (vm.obstacle ?? '') : formatWords(relationship.state)) },
    { head: 'RPO / target', cell: ({ relationship }) => (relationship === null ? '' : <RpoMeter {...relationship} />) },
    { head: 'Last replication', cell: ({ relationship }) => (relationship === null ? '' : <Time at={relationship.lastReplicationAt} />) },
    { head: 'Points', cell: ({ relationship }) => relationship?.recoveryPointCount ?? '', isNumber: true },
    { head: '', cell: (row) => (row.relationship === null ? <EnableButton row={row} onEnable={onEnable} /> : null) },
  ];
}

function EnableButton({ row, onEnable }: { readonly row: Protected; readonly onEnable: (row: Protected) => void }): ReactNode {
  const { may } = useSession();
  if (!may('replication:write')) return null;
  return (
    <button
      type="button"
      className="button small"
      disabled={row.vm.obstacle !== null}
      title={row.vm.obstacle ?? undefined}
      onClick={() => onEnable(row)}
    >
      Protect<span className="visually-hidden"> {row.vm.name}</span>
    </button>
  );
}
