import { resolve } from 'node:path';
import type { Command } from 'commander';
import { CodedError, formatBytes, formatDuration } from '#libs/kernel';
import { StateDirectory, type AgentStatus, type RelationshipStatus } from '#libs/primary';

export function addStatus(program: Command, say: (text: string) => void): void {
  program
    .command('status')
    .description('What the agent on this host does.')
    .requiredOption('--data <dir>', 'the directory of the agent')
    .option('--json', 'for programs')
    .action(async ({ data, json }: { readonly data: string; readonly json?: true }) => {
      const text = await (await StateDirectory.open(resolve(data))).readStatus();
      if (text === null) throw new CodedError('agent.never-ran', 'not-found', 'the agent has not run in this directory yet');
      say(json === true ? text.trimEnd() : describe(JSON.parse(text) as AgentStatus));
    });
}

function describe(status: AgentStatus): string {
  const vms = status.vms.map(({ name, power, obstacle }) => `  ${name}: ${power}${obstacle === null ? '' : `, ${obstacle}`}`);
  return [
    `${status.fqdn}, agent ${status.agentId}, version ${status.version}, process ${status.pid}, as of ${status.writtenAt}`,
    `certificate until ${status.certificateNotAfter}`,
    'VMs:',
    ...(vms.length === 0 ? ['  none'] : vms),
    'Replication:',
    ...(status.relationships.length === 0 ? ['  none'] : status.relationships.map(describeRelationship)),
  ].join('\n');
}

function describeRelationship({ vmName, state, activity, step, failures, lastError, lastCycle }: RelationshipStatus): string {
  const now = step === null ? activity : `${activity} a ${step.kind} cycle`;
  const last =
    lastCycle === null
      ? 'no cycle since the start'
      : `last ${lastCycle.kind} cycle at ${lastCycle.instant.toString()}: ${formatBytes(lastCycle.changedBytes)} changed, ` +
        `${formatBytes(lastCycle.sentBytes)} sent in ${formatDuration(lastCycle.durationMs)}`;
  const fault = lastError === null ? '' : `; ${failures} failures, last at ${lastError.at}: ${lastError.message} (${lastError.code})`;
  return `  ${vmName}: ${state}, ${now}; ${last}${fault}`;
}
