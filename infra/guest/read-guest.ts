import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { GUEST_LAYOUT } from './build-guest.js';
import { RECORD_BYTES, RECORD_SLOTS } from './guest-scripts.js';

export interface GuestTick {
  readonly counter: number;
  /** The guest's own clock. */
  readonly epochSeconds: number;
}

export interface GuestBoot {
  /** What the disks held when the guest came up: it counts on from there. */
  readonly last1: number;
  readonly last2: number;
  readonly ticks: readonly GuestTick[];
  /** It was shut down by its power button. */
  readonly isDown: boolean;
}

/** Reads the guest's serial console: one entry for each boot. Lines cut short are left out. */
export function parseConsole(text: string): GuestBoot[] {
  const boots: { last1: number; last2: number; ticks: GuestTick[]; isDown: boolean }[] = [];
  for (const line of text.split('\n').slice(0, -1)) {
    const up = /GUEST-UP last1=(\d+) last2=(\d+)/.exec(line);
    if (up !== null) boots.push({ last1: Number(up[1]), last2: Number(up[2]), ticks: [], isDown: false });
    const boot = boots.at(-1);
    const tick = /tick (\d+) (\d+)\s*$/.exec(line);
    if (tick !== null) boot?.ticks.push({ counter: Number(tick[1]), epochSeconds: Number(tick[2]) });
    if (boot !== undefined && line.includes('GUEST-DOWN')) boot.isDown = true;
  }
  return boots;
}

export interface GuestCounters {
  readonly disk1: GuestTick;
  readonly disk2: GuestTick;
}

const NO_TICK: GuestTick = { counter: 0, epochSeconds: 0 };

/**
 * The newest counter on each disk of a raw image pair; zero where there is none. Of one instant, disk 2's counter is
 * disk 1's or the one before. Throws when a record's checksum is wrong.
 */
export async function readGuestCounters(rawDisk1Path: string, rawDisk2Path: string): Promise<GuestCounters> {
  return {
    disk1: newestTick(await readAt(rawDisk1Path, GUEST_LAYOUT.recordsMiB.start * 1024 * 1024)),
    disk2: newestTick(await readAt(rawDisk2Path, 0)),
  };
}

/** The newest record of a record area. */
export function newestTick(area: Buffer): GuestTick {
  let newest = NO_TICK;
  for (let slot = 0; slot < RECORD_SLOTS; slot += 1) {
    const bytes = area.subarray(slot * RECORD_BYTES, (slot + 1) * RECORD_BYTES);
    if (bytes.every((byte) => byte === 0)) continue;
    const record = /^(HOLDFAST (\d{10}) (\d{10})) ([0-9a-f]{32})\n\0*$/.exec(bytes.toString('latin1'));
    const isWhole = record !== null && createHash('md5').update(`${record[1]}\n`).digest('hex') === record[4];
    if (!isWhole || Number(record[2]) % RECORD_SLOTS !== slot) throw new Error(`the guest's record in slot ${slot} is damaged`);
    const tick = { counter: Number(record[2]), epochSeconds: Number(record[3]) };
    if (tick.counter > newest.counter) newest = tick;
  }
  return newest;
}

async function readAt(path: string, position: number): Promise<Buffer> {
  const file = await open(path, 'r');
  try {
    const area = Buffer.alloc(RECORD_BYTES * RECORD_SLOTS);
    const { bytesRead } = await file.read(area, 0, area.length, position);
    if (bytesRead !== area.length) throw new Error(`${path} is too small for a disk of the guest`);
    return area;
  } finally {
    await file.close();
  }
}
