import { useMutation, useQueryClient } from '@tanstack/react-query';
import { type ReactNode, useState } from 'react';
import { useParams } from 'react-router';
import type { CycleView, RelationshipView, VmView } from '#libs/contracts/http';
import { formatBytes, formatDuration } from '#libs/kernel';
import { client } from '../api.js';
import { RpoChart } from '../charts/rpo-chart.js';
import { TrafficChart } from '../charts/traffic-chart.js';
import { bytesOrDash, formatCycle, formatFrequency, formatSpan, formatWords } from '../format.js';
import { useSession } from '../session/session.js';
import { Answer, Empty, ErrorNotice } from '../ui/answer.js';
import { Card, Tiles } from '../ui/card.js';
import { CycleChip, HealthChip } from '../ui/chip.js';
import { Page } from '../ui/page.js';
import { type Column, Table } from '../ui/table.js';
import { Tabs } from '../ui/tabs.js';
import { Time } from '../ui/time.js';
import { ChainTab } from './chain-tab.js';
import { EnableDialog } from './enable-dialog.js';
import { ExtendedCard } from './extended-card.js';
import { FailoverDialog, type FailoverWish } from './failover-dialog.js';
import { FailoverTable } from './failovers-page.js';
import { useCycles, useFailovers, useRecoveryPoints, useVm } from './queries.js';
import { RecoveryPoints } from './recovery-points.js';
import { ReplicationSettings } from './replication-settings.js';
import { rpoTone } from './rpo-tone.js';

export function VmPage(): ReactNode {
  const { id = '' } = useParams();
  const query = useVm(id);
  const vm = query.data?.vm;
  const relationship = query.data?.relationship ?? null;
  return (
    <Page
      title={vm?.name ?? 'Virtual machine'}
      back={['/', 'Overview']}
      {...(vm === undefined
        ? {}
        : { beside: <HealthChip health={relationship?.health ?? null} />, about: <About vm={vm} relationship={relationship} /> })}
      {...(relationship === null ? {} : { actions: <Actions relationship={relationship} /> })}
    >
      <Answer query={query} lines={8}>
        {(data) =>
          data.relationship === null ? <Unprotected vm={data.vm} /> : <Protection vm={data.vm} relationship={data.relationship} />
        }
      </Answer>
    </Page>
  );
}

function About({ vm, relationship }: { readonly vm: VmView; readonly relationship: RelationshipView | null }): ReactNode {
  const { cpuCount, memoryBytes, disks, firmware } = vm.definition;
  return (
    <>
      {relationship === null ? '' : `${formatWords(relationship.state)} · `}
      {vm.power} · {cpuCount} CPU · {formatBytes(memoryBytes)} memory · {disks.length} {disks.length === 1 ? 'disk' : 'disks'} ·{' '}
      {firmware.toUpperCase()}
    </>
  );
}

function Actions({ relationship }: { readonly relationship: RelationshipView }): ReactNode {
  const { may } = useSession();
  const queries = useQueryClient();
  const points = useRecoveryPoints(relationship.id);
  const [wish, setWish] = useState<FailoverWish | null>(null);
  const replicate = useMutation({
    mutationFn: () => client.relationships.replicate(relationship.id),
    onSettled: () => queries.invalidateQueries({ queryKey: ['vm', relationship.vmId] }),
  });
  // The provider would not take a damaged one by itself either.
  const newest = points.data?.items.find(({ isDamaged }) => !isDamaged);
  const ask = (type: FailoverWish['type']): void => {
    if (newest !== undefined) setWish({ type, point: newest, isNewest: true });
  };
  return (
    <>
      {may('replication:write') && relationship.state === 'Replicating' ? (
        <button type="button" className="button" disabled={replicate.isPending} onClick={() => replicate.mutate()}>
          Replicate now
        </button>
      ) : null}
      {may('failover:write') ? (
        <>
          <button type="button" className="button" disabled={newest === undefined} onClick={() => ask('Test')}>
            Test failover
          </button>
          <button
            type="button"
            className="button danger"
            disabled={newest === undefined || relationship.mode === 'Replica'}
            onClick={() => ask('Unplanned')}
          >
            Fail over
          </button>
        </>
      ) : null}
      {replicate.error === null ? null : <ErrorNotice error={replicate.error} />}
      {wish === null ? null : <FailoverDialog relationship={relationship} wish={wish} onClose={() => setWish(null)} />}
    </>
  );
}

function Unprotected({ vm }: { readonly vm: VmView }): ReactNode {
  const { may } = useSession();
  const [isOpen, setIsOpen] = useState(false);
  return (
    <Card>
      <Empty
        title="This VM is not protected"
        action={
          may('replication:write') && vm.obstacle === null ? (
            <button type="button" className="button primary" onClick={() => setIsOpen(true)}>
              Enable replication
            </button>
          ) : null
        }
      >
        {vm.obstacle === null
          ? 'A disaster at your site would cost all of it. Replication keeps a copy at your provider, never older than minutes.'
          : `It cannot be replicated: ${vm.obstacle}`}
      </Empty>
      {isOpen ? <EnableDialog vm={vm} onClose={() => setIsOpen(false)} /> : null}
    </Card>
  );
}

function Protection({ vm, relationship }: { readonly vm: VmView; readonly relationship: RelationshipView }): ReactNode {
  const { rpoSeconds, policy, recoveryPointCount, storedBytes, healthDetails, health } = relationship;
  const cycles = useCycles(relationship.id);
  const failovers = useFailovers(relationship.id);
  return (
    <>
      {healthDetails.map(({ code, message }) => (
        <div key={code} className={`notice ${health === 'Critical' ? 'bad' : 'warn'}`} role="status">
          <p>{message}</p>
          <code className="small">{code}</code>
        </div>
      ))}
      <Tiles
        facts={[
          {
            name: 'RPO now',
            value: rpoSeconds === null ? '–' : formatSpan(rpoSeconds),
            of: `target ${formatFrequency(policy.frequencySeconds)}`,
            tone: rpoTone(relationship),
          },
          { name: 'Last replication', value: <Time at={relationship.lastReplicationAt} /> },
          { name: 'Recovery points', value: recoveryPointCount },
          { name: 'Stored', value: formatBytes(storedBytes) },
        ]}
      />
      <div className="columns">
        <Card title="RPO just before each recovery point">
          <Answer query={cycles}>{({ items }) => <RpoChart cycles={items} targetSeconds={policy.frequencySeconds} />}</Answer>
        </Card>
        <Card title="Changed and sent, each cycle">
          <Answer query={cycles}>{({ items }) => <TrafficChart cycles={items} />}</Answer>
        </Card>
      </div>
      {relationship.extended === null ? null : <ExtendedCard extended={relationship.extended} />}
      <Tabs
        label={`Details of ${vm.name}`}
        tabs={[
          { name: 'Recovery points', content: () => <RecoveryPoints relationship={relationship} /> },
          { name: 'Cycles', content: () => <Answer query={cycles}>{({ items }) => <CycleTable cycles={items} />}</Answer> },
          { name: 'Failovers', content: () => <Answer query={failovers}>{({ items }) => <FailoverTable failovers={items} />}</Answer> },
          { name: 'Chain', content: () => <ChainTab relationship={relationship} /> },
          { name: 'Settings', content: () => <ReplicationSettings relationship={relationship} /> },
        ]}
      />
    </>
  );
}

const CYCLE_COLUMNS: readonly Column<CycleView>[] = [
  {
    head: 'Cycle',
    cell: ({ cycle, kind }) => (
      <span className="name" title={`Cycle ${cycle}`}>
        {formatCycle(cycle)} <span className="soft small">{kind}</span>
      </span>
    ),
  },
  {
    head: 'State',
    cell: ({ state, failureMessage, failureCode }) => (
      <>
        <CycleChip state={state} />
        {failureMessage === null ? null : (
          <div className="soft small" title={failureCode ?? undefined}>
            {failureMessage}
          </div>
        )}
      </>
    ),
  },
  { head: 'Started', cell: ({ startedAt }) => <Time at={startedAt} /> },
  { head: 'Changed', cell: ({ changedBytes }) => bytesOrDash(changedBytes), isNumber: true },
  { head: 'Sent', cell: ({ sentBytes }) => formatBytes(sentBytes), isNumber: true },
  { head: 'Guest paused', cell: ({ pauseMs }) => (pauseMs === null ? '–' : formatDuration(pauseMs)), isNumber: true },
  { head: 'Took', cell: ({ durationMs }) => (durationMs === null ? '–' : formatDuration(durationMs)), isNumber: true },
];

function CycleTable({ cycles }: { readonly cycles: readonly CycleView[] }): ReactNode {
  return (
    <Table
      label="Replication cycles"
      columns={CYCLE_COLUMNS}
      rows={cycles}
      keyOf={({ id }) => id}
      empty={<Empty title="No cycles yet">The agent begins initial replication as soon as it hears of it.</Empty>}
    />
  );
}
