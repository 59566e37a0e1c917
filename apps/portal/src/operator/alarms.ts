import type { JobView, ReceiverView, ReplicaNodeView } from '#libs/contracts/http';

export interface Alarm {
  readonly id: string;
  readonly tone: 'warn' | 'bad';
  readonly to: string;
  readonly subject: string;
  /** What is wrong and what mends it. */
  readonly message: string;
}

const MEMORY_FREE_SHARE_MIN = 0.1;

/** What a person must look at, the worst first. */
export function alarmsOf(nodes: readonly ReplicaNodeView[], receivers: readonly ReceiverView[], jobs: readonly JobView[]): Alarm[] {
  const active = nodes.filter(({ state }) => state !== 'revoked');
  const alarms: Alarm[] = [];
  if (!active.some(({ connected, state }) => connected && state === 'active'))
    alarms.push(
      alarm('cluster', 'bad', '/replica-nodes', 'Replica cluster', 'No replica node can take a failover. Start one, or enrol one.'),
    );
  if (!receivers.some(({ connected }) => connected))
    alarms.push(alarm('receivers', 'bad', '/receivers', 'Receivers', 'No receiver is up: nothing is replicated. Start one.'));
  for (const { id, name, connected, memoryFreeMiB, memoryMiB } of active) {
    if (!connected)
      alarms.push(alarm(id, 'bad', '/replica-nodes', name, 'The replica node is silent. Check the host and its way to a receiver.'));
    else if (memoryFreeMiB !== null && memoryMiB !== null && memoryFreeMiB < memoryMiB * MEMORY_FREE_SHARE_MIN)
      alarms.push(alarm(id, 'warn', '/replica-nodes', name, 'Less than a tenth of its memory is free. Add a replica node.'));
  }
  for (const { name, connected } of receivers) {
    if (!connected)
      alarms.push(alarm(name, 'warn', '/receivers', name, 'The receiver is silent. Agents have gone to the others; start it again.'));
  }
  for (const { id, kind, state, tenantName, failureCode, attempts } of jobs) {
    const subject = `${kind}${tenantName === null ? '' : ` for ${tenantName}`}`;
    if (state === 'retrying')
      alarms.push(alarm(id, 'warn', '/jobs', subject, `Tried ${attempts} times so far${failureCode === null ? '' : ` (${failureCode})`}.`));
    if (state === 'undoing')
      alarms.push(alarm(id, 'warn', '/jobs', subject, `It is being taken back${failureCode === null ? '' : ` (${failureCode})`}.`));
  }
  return alarms.sort((a, b) => Number(b.tone === 'bad') - Number(a.tone === 'bad'));
}

function alarm(id: string, tone: Alarm['tone'], to: string, subject: string, message: string): Alarm {
  return { id, tone, to, subject, message };
}
