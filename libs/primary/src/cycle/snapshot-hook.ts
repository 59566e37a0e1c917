import { spawn } from 'node:child_process';
import type { Logger } from '#libs/kernel';
import type { SourceDisk } from '../source/vm-source.js';

export interface SnapshotHook {
  readonly command: string;
  readonly args: readonly string[];
  readonly timeoutMs: number;
}

export interface HookOccasion {
  readonly vmName: string;
  readonly sourceId: string;
  readonly relationshipId: string;
  readonly cycle: string;
  readonly instant: Date;
  readonly disks: readonly SourceDisk[];
}

const OUTPUT_CHARACTERS_MAX = 2000;

/**
 * Runs the hook and waits for it: the snapshot must outlive it. What it needs stands in its environment: `HOLDFAST_VM_NAME`, `HOLDFAST_VM_ID`, `HOLDFAST_RELATIONSHIP_ID`,
 * `HOLDFAST_CYCLE`, `HOLDFAST_POINT_INSTANT` and `HOLDFAST_POINT_DISKS`, a JSON list of `{ordinal, sizeBytes, uri}` with NBD addresses. Its failure is logged, never thrown.
 */
export async function runSnapshotHook(
  hook: SnapshotHook,
  occasion: HookOccasion,
  environment: NodeJS.ProcessEnv,
  logger: Logger,
  signal: AbortSignal,
): Promise<void> {
  const disks = occasion.disks.map(({ ordinal, sizeBytes, uri }) => ({ ordinal, sizeBytes, uri }));
  const child = spawn(hook.command, [...hook.args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: hook.timeoutMs,
    killSignal: 'SIGKILL',
    signal,
    env: {
      ...environment,
      HOLDFAST_VM_NAME: occasion.vmName,
      HOLDFAST_VM_ID: occasion.sourceId,
      HOLDFAST_RELATIONSHIP_ID: occasion.relationshipId,
      HOLDFAST_CYCLE: occasion.cycle,
      HOLDFAST_POINT_INSTANT: occasion.instant.toISOString(),
      HOLDFAST_POINT_DISKS: JSON.stringify(disks),
    },
  });
  let output = '';
  const collect = (chunk: Buffer): void => {
    output = (output + chunk.toString('utf8')).slice(-OUTPUT_CHARACTERS_MAX);
  };
  child.stdout.on('data', collect);
  child.stderr.on('data', collect);
  const fault = await new Promise<string | null>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('close', (code, killedBy) => resolve(code === 0 ? null : killedBy === null ? `exit code ${code}` : `ended by ${killedBy}`));
  });
  const fields = { relationshipId: occasion.relationshipId, cycle: occasion.cycle, output };
  if (fault === null) logger.debug(fields, 'the snapshot hook ran');
  else logger.warn({ ...fields, fault }, 'the snapshot hook failed');
}
