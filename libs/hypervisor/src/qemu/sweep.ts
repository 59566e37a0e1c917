import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { CodedError, type Clock } from '#libs/kernel';
import { findDisks, findOurNodes } from './block-graph.js';
import { accessName, isOurs, PAUSE_MARKER, scratchName, filterName } from './names.js';
import { isRefusal, type Qmp } from './qmp.js';

const EXPORT_GONE_TIMEOUT_MS = 10_000;

export const scratchFileName = (ordinal: number): string => `${scratchName(ordinal)}.qcow2`;

/**
 * Takes out of a QEMU whatever reading put into it, in the order that never leaves the guest without its disk: exports,
 * snapshots, filters, scratch. Bitmaps stay. It is both the end of a read and the mending after a crash, and may be run
 * at any moment, also twice: it looks at what is there, never at what should be.
 */
export async function sweep(qmp: Qmp, clock: Clock, directory: string): Promise<void> {
  await resumeIfWePaused(qmp);
  await removeExports(qmp, clock);
  const prefixes = [accessName, filterName, scratchName].map((name) => name(0).slice(0, -1));
  await removeNodes(qmp, prefixes[0]!);
  for (const disk of await findDisks(qmp)) {
    if (disk.attachedName === disk.nodeName) continue;
    await qmp.command('qom-set', { path: disk.drivePath, property: 'drive', value: disk.nodeName });
  }
  await removeNodes(qmp, prefixes[1]!);
  await removeNodes(qmp, prefixes[2]!);
  for (const name of await readdir(directory)) if (name.startsWith(prefixes[2]!)) await rm(join(directory, name), { force: true });
}

/** A predecessor died between stopping the guest and letting it go on. */
async function resumeIfWePaused(qmp: Qmp): Promise<void> {
  if (!(await findOurNodes(qmp)).includes(PAUSE_MARKER)) return;
  const { status } = await qmp.command<{ status: string }>('query-status');
  if (status === 'paused') await qmp.command('cont');
  await qmp.command('blockdev-del', { 'node-name': PAUSE_MARKER });
}

async function removeExports(qmp: Qmp, clock: Clock): Promise<void> {
  const deadlineMs = clock.monotonicMs() + EXPORT_GONE_TIMEOUT_MS;
  const asked = new Set<string>();
  for (;;) {
    const exports = await qmp.command<{ id: string }[]>('query-block-exports');
    const ours = exports.map(({ id }) => id).filter(isOurs);
    if (ours.length === 0) return;
    if (clock.monotonicMs() > deadlineMs) {
      throw new CodedError('hypervisor.export-stuck', 'unavailable', 'QEMU does not let go of an export', { exports: ours });
    }
    for (const id of ours) {
      if (asked.has(id)) continue;
      asked.add(id);
      await unlessRefused(qmp.command('block-export-del', { id, mode: 'hard' }));
    }
    await clock.sleep(5);
  }
}

async function removeNodes(qmp: Qmp, prefix: string): Promise<void> {
  for (const name of await findOurNodes(qmp)) if (name.startsWith(prefix)) await qmp.command('blockdev-del', { 'node-name': name });
}

/** It vanished by itself in between. */
async function unlessRefused(command: Promise<unknown>): Promise<void> {
  try {
    await command;
  } catch (error) {
    if (!isRefusal(error)) throw error;
  }
}
