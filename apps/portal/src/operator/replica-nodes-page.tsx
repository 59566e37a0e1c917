import { useMutation } from '@tanstack/react-query';
import { type ReactNode, useState } from 'react';
import type { ReplicaNodeView } from '#libs/contracts/http';
import { formatBytes, MIB } from '#libs/kernel';
import { client } from '../api.js';
import { useSession } from '../session/session.js';
import { Answer, Empty } from '../ui/answer.js';
import { Card } from '../ui/card.js';
import { Chip, ConnectionChip } from '../ui/chip.js';
import { FormDialog } from '../ui/dialog.js';
import { EnrolmentCommand } from '../ui/enrolment-command.js';
import { Field } from '../ui/field.js';
import { Meter } from '../ui/meter.js';
import { Page } from '../ui/page.js';
import { type Column, Table } from '../ui/table.js';
import { Time } from '../ui/time.js';
import { useReplicaNodes } from './queries.js';

const COLUMNS: readonly Column<ReplicaNodeView>[] = [
  {
    head: 'Node',
    cell: ({ name, version }) => (
      <>
        <span className="name">{name}</span>
        <br />
        <span className="soft small">{version === '' ? 'never reported' : `version ${version}`}</span>
      </>
    ),
  },
  {
    head: 'State',
    cell: ({ state, connected }) =>
      state === 'revoked' ? (
        <Chip tone="none">Revoked</Chip>
      ) : state === 'draining' && connected ? (
        <Chip tone="warn">Draining</Chip>
      ) : (
        <ConnectionChip isConnected={connected} />
      ),
  },
  { head: 'Memory in use', cell: (node) => <MemoryMeter node={node} /> },
  { head: 'CPUs', cell: ({ cpus }) => cpus ?? '–', isNumber: true },
  { head: 'Acceleration', cell: ({ accelerator }) => (accelerator === null ? '–' : accelerator === 'kvm' ? 'KVM' : 'none (TCG)') },
  { head: 'Replicas', cell: ({ replicaCount }) => replicaCount, isNumber: true },
  { head: 'Last report', cell: ({ lastSeenAt }) => <Time at={lastSeenAt} /> },
];

function MemoryMeter({ node }: { readonly node: ReplicaNodeView }): ReactNode {
  const { memoryMiB, memoryFreeMiB, name } = node;
  if (memoryMiB === null || memoryFreeMiB === null) return <span className="soft">–</span>;
  const share = (memoryMiB - memoryFreeMiB) / memoryMiB;
  return (
    <Meter label={`Memory in use on ${name}`} share={share} tone={share > 0.9 ? 'bad' : share > 0.75 ? 'warn' : 'good'}>
      {formatBytes((memoryMiB - memoryFreeMiB) * MIB)} <span className="soft">/ {formatBytes(memoryMiB * MIB)}</span>
    </Meter>
  );
}

export function NodeTable({ nodes }: { readonly nodes: readonly ReplicaNodeView[] }): ReactNode {
  return (
    <Table
      label="Replica nodes"
      columns={COLUMNS}
      rows={nodes}
      keyOf={({ id }) => id}
      empty={<Empty title="No replica nodes yet">Without one no VM can be brought up here. Enrol the first.</Empty>}
    />
  );
}

export function ReplicaNodesPage(): ReactNode {
  const nodes = useReplicaNodes();
  const { may } = useSession();
  const [isEnrolling, setIsEnrolling] = useState(false);
  return (
    <Page
      title="Replica nodes"
      about="The hosts where VMs come up in a failover."
      {...(may('cluster:write')
        ? {
            actions: (
              <button type="button" className="button primary" onClick={() => setIsEnrolling(true)}>
                Enrol a replica node
              </button>
            ),
          }
        : {})}
    >
      <Answer query={nodes}>
        {({ items }) => (
          <Card isFlush>
            <NodeTable nodes={items} />
          </Card>
        )}
      </Answer>
      {isEnrolling ? <EnrolNodeDialog onClose={() => setIsEnrolling(false)} /> : null}
    </Page>
  );
}

function EnrolNodeDialog({ onClose }: { readonly onClose: () => void }): ReactNode {
  const [fqdnPattern, setFqdnPattern] = useState('');
  const create = useMutation({ mutationFn: () => client.operator.createReplicaNodeToken({ fqdnPattern }) });
  if (create.data !== undefined) return <EnrolmentCommand created={create.data} program="replica-node" onClose={onClose} />;
  return (
    <FormDialog title="Enrol a replica node" submit="Make a token" doing={create} onSubmit={() => create.mutate()} onClose={onClose}>
      <p className="soft">A token lets one host in, once, within the hour.</p>
      <Field
        label="Host"
        value={fqdnPattern}
        onChange={setFqdnPattern}
        hint="Its full name, or *. and a domain."
        autoCapitalize="none"
        required
      />
    </FormDialog>
  );
}
