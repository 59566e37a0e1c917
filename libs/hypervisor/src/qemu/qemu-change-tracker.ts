import { mkdir, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { assert, CodedError, GIB, MIB, type Clock, type Logger } from '#libs/kernel';
import {
  ChangeTracker,
  type ChangeTrackerOptions,
  type TrackedDisk,
  type TrackedRead,
  type TrackedReadRequest,
  type TrackingState,
} from '../change-tracker.js';
import { beginMark, checkMark, forgetMarks, marksOf, settleMark, type TransactionAction } from './bitmaps.js';
import { findDisks, type QemuDisk } from './block-graph.js';
import { accessName, bitmapName, exportId, filterName, isOurs, PAUSE_MARKER, PREFIX, scratchName } from './names.js';
import { runQemuImg } from './qemu-process.js';
import { isRefusal, type Qmp } from './qmp.js';
import { scratchFileName, sweep } from './sweep.js';

export interface QemuChangeTrackerOptions extends ChangeTrackerOptions {
  readonly qmp: Qmp;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * Dirty bitmaps, one for each mark, and the copy-before-write filter with snapshot-access. The filter is put between
 * device and disk only while a snapshot is read; a scratch that is full or slow breaks the snapshot, never a guest write.
 *
 * The scratch's bound is kept by QEMU itself: a qcow2 in a raw node of fixed size, which refuses to grow past it.
 */
export class QemuChangeTracker extends ChangeTracker {
  readonly #qmp: Qmp;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #directory: string;
  #open: TrackedReadRequest | null = null;

  private constructor(private readonly options: QemuChangeTrackerOptions) {
    super();
    this.#qmp = options.qmp;
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.#directory = options.directory;
  }

  static async open(options: QemuChangeTrackerOptions): Promise<QemuChangeTracker> {
    const { qmp, clock, directory } = options;
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const tracker = new QemuChangeTracker(options);
    await sweep(qmp, clock, directory);
    await tracker.stopNbdServer();
    await qmp.command('nbd-server-start', { addr: { type: 'unix', data: { path: tracker.nbdSocket } } });
    return tracker;
  }

  async state(): Promise<TrackingState> {
    const disks = (await this.disks()).map((disk) => ({ ordinal: disk.ordinal, deviceId: disk.deviceId, marks: marksOf(disk) }));
    const marks = (disks[0]?.marks ?? []).filter((mark) => disks.every((disk) => disk.marks.includes(mark)));
    return { marks, lost: marks.length === 0, disks };
  }

  async settle(mark: string): Promise<void> {
    this.checkNoneOpen();
    await this.settleDisks(mark);
  }

  takeSnapshot(request: TrackedReadRequest): Promise<TrackedRead> {
    return this.read('snapshot', request);
  }

  openLive(request: TrackedReadRequest): Promise<TrackedRead> {
    return this.read('live', request);
  }

  async stopTracking(): Promise<void> {
    this.checkNoneOpen();
    await this.transaction((await this.disks()).flatMap(forgetMarks));
  }

  async close(): Promise<void> {
    if (this.#open !== null) await this.release(this.#open, true);
    await this.stopNbdServer();
  }

  private get nbdSocket(): string {
    return join(this.#directory, `${PREFIX}nbd.sock`);
  }

  private async read(kind: TrackedRead['kind'], request: TrackedReadRequest): Promise<TrackedRead> {
    const { mark, since } = request;
    checkMark(mark);
    this.checkNoneOpen();
    this.#open = request;
    let hasBegun = false;
    try {
      if (since !== null) await this.settleDisks(since);
      const disks = await this.disks();
      if (disks.some((disk) => marksOf(disk).includes(mark)))
        throw new CodedError('hypervisor.mark-taken', 'conflict', `the mark ${mark} is in use`);
      const begin = disks.flatMap((disk) => beginMark(disk, mark, since === null));
      hasBegun = true;
      const { instant, pauseMs } = kind === 'snapshot' ? await this.freeze(disks, begin) : await this.beginLive(begin);
      const tracked = await Promise.all(disks.map((disk) => this.lend(kind, disk, request)));
      this.#logger.debug({ kind, mark, since, pauseMs }, 'opened the disks for reading');
      return { kind, mark, since, disks: tracked, instant, pauseMs, release: ({ keepChanges }) => this.release(request, keepChanges) };
    } catch (error) {
      try {
        if (hasBegun) await this.release(request, true);
      } catch (second) {
        // The VM itself may be gone. What is left is swept when the next tracker opens.
        this.#logger.warn({ error: second }, 'could not take back a read that failed to open');
      }
      this.#open = null;
      throw error;
    }
  }

  private async beginLive(begin: readonly TransactionAction[]): Promise<{ instant: Date; pauseMs: number }> {
    await this.transaction(begin);
    return { instant: this.#clock.now(), pauseMs: 0 };
  }

  /** All disks get their filter and their new mark while the guest stands still: one instant. */
  private async freeze(disks: readonly QemuDisk[], begin: readonly TransactionAction[]): Promise<{ instant: Date; pauseMs: number }> {
    for (const disk of disks) await this.addFilter(disk);
    const { running } = await this.#qmp.command<{ running: boolean }>('query-status');
    if (running) await this.#qmp.command('blockdev-add', { driver: 'null-co', 'node-name': PAUSE_MARKER, 'read-zeroes': true });
    const startMs = this.#clock.monotonicMs();
    // Sent without waiting in between, `cont` included, whatever becomes of the others: the shortest pause, and no answer of ours is needed for the guest to go on.
    const steps = [
      ...(running ? [this.#qmp.command('stop')] : []),
      ...disks.map((disk) => this.#qmp.command('qom-set', { path: disk.drivePath, property: 'drive', value: filterName(disk.ordinal) })),
      this.transaction(begin),
      ...(running ? [this.#qmp.command('cont')] : []),
    ];
    const instant = this.#clock.now();
    const results = await Promise.allSettled(steps);
    const pauseMs = running ? this.#clock.monotonicMs() - startMs : 0;
    const failed = results.find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
    if (running) await this.#qmp.command('blockdev-del', { 'node-name': PAUSE_MARKER });
    return { instant, pauseMs };
  }

  private async addFilter({ ordinal, nodeName, sizeBytes }: QemuDisk): Promise<void> {
    const filename = join(this.#directory, scratchFileName(ordinal));
    const limitBytes = this.options.scratchLimitBytes ?? 4 * GIB;
    assert(limitBytes >= MIB, 'a scratch has at least 1 MiB');
    await runQemuImg(['create', '-q', '-f', 'qcow2', filename, String(sizeBytes)]);
    await truncate(filename, limitBytes);
    const bounded = { driver: 'raw', size: limitBytes, file: { driver: 'file', filename } };
    await this.#qmp.command('blockdev-add', { driver: 'qcow2', 'node-name': scratchName(ordinal), file: bounded });
    await this.#qmp.command('blockdev-add', {
      driver: 'copy-before-write',
      'node-name': filterName(ordinal),
      file: nodeName,
      target: scratchName(ordinal),
      'on-cbw-error': 'break-snapshot',
      'cbw-timeout': this.options.scratchTimeoutSeconds ?? 5,
    });
  }

  private async lend(kind: TrackedRead['kind'], disk: QemuDisk, { mark, since }: TrackedReadRequest): Promise<TrackedDisk> {
    const { ordinal, deviceId, nodeName, sizeBytes } = disk;
    // A reader above the filter makes it refuse writers below: it comes only when the guest writes through the filter.
    if (kind === 'snapshot') {
      await this.#qmp.command('blockdev-add', { driver: 'snapshot-access', 'node-name': accessName(ordinal), file: filterName(ordinal) });
    }
    const isKnown = since !== null && marksOf(disk).includes(since);
    const exportName = `${PREFIX}${ordinal}-${mark}`;
    await this.#qmp.command('block-export-add', {
      type: 'nbd',
      id: exportId(ordinal),
      'node-name': kind === 'snapshot' ? accessName(ordinal) : nodeName,
      name: exportName,
      ...(isKnown ? { bitmaps: [{ node: nodeName, name: bitmapName(since) }] } : {}),
    });
    const dirtyContext = isKnown ? `qemu:dirty-bitmap:${bitmapName(since)}` : null;
    return { ordinal, deviceId, sizeBytes, nbdSocket: this.nbdSocket, exportName, dirtyContext };
  }

  private async release(request: TrackedReadRequest, keepChanges: boolean): Promise<void> {
    if (this.#open !== request) return;
    await sweep(this.#qmp, this.#clock, this.#directory);
    const mark = keepChanges ? request.since : request.mark;
    const disks = await this.disks();
    await this.transaction(disks.flatMap((disk) => (mark === null ? forgetMarks(disk) : settleMark(disk, mark))));
    this.#open = null;
  }

  private async settleDisks(mark: string): Promise<void> {
    const disks = await this.disks();
    if (!disks.some((disk) => marksOf(disk).includes(mark))) {
      throw new CodedError('hypervisor.tracking-lost', 'conflict', `no disk knows what changed since ${mark}`, { mark });
    }
    await this.transaction(disks.flatMap((disk) => settleMark(disk, mark)));
  }

  private async disks(): Promise<QemuDisk[]> {
    const excluded = new Set(this.options.excludedDeviceIds);
    return (await findDisks(this.#qmp)).filter(({ deviceId }) => !excluded.has(deviceId));
  }

  private async transaction(actions: readonly TransactionAction[]): Promise<void> {
    if (actions.length > 0) await this.#qmp.command('transaction', { actions });
  }

  private checkNoneOpen(): void {
    if (this.#open !== null) throw new CodedError('hypervisor.read-open', 'conflict', 'the disks of this VM are already open for reading');
  }

  /** A QEMU has one NBD server; one with exports that are not ours is left alone. */
  private async stopNbdServer(): Promise<void> {
    const exports = await this.#qmp.command<{ id: string }[]>('query-block-exports');
    if (exports.some(({ id }) => !isOurs(id))) return;
    try {
      await this.#qmp.command('nbd-server-stop');
    } catch (error) {
      if (!isRefusal(error)) throw error;
    }
  }
}
