/**
 * The agent's snapshot hook in the demo: copies what a recovery point's snapshot holds, disk by disk, with QEMU's own tools, so
 * that the point can be compared later with something that Holdfast had no hand in. Argument: where the copies go.
 */
import { execFile } from 'node:child_process';
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { copyOf } from './copies.js';

const run = promisify(execFile);

interface PointDisk {
  readonly ordinal: number;
  readonly uri: string;
}

const [directory] = process.argv.slice(2);
const cycle = process.env['HOLDFAST_CYCLE'];
const disks = JSON.parse(process.env['HOLDFAST_POINT_DISKS'] ?? '[]') as PointDisk[];
if (directory === undefined || cycle === undefined || disks.length === 0) throw new Error('to be run by the agent while a snapshot exists');

for (const { ordinal, uri } of disks) {
  const path = join(directory, copyOf(cycle, ordinal));
  await run('qemu-img', ['convert', '-f', 'raw', '-O', 'raw', uri, `${path}.part`]);
  await rename(`${path}.part`, path);
}
