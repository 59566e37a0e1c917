import { spawnSync } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'vitest';
import { MIB } from '#libs/kernel';

const PARTITION_AT = MIB;

/** Why disks cannot be mounted here; null where they can. */
export function mountObstacle(): string | null {
  if (process.getuid?.() !== 0) return 'not root';
  for (const device of ['/dev/fuse', '/dev/loop-control']) {
    try {
      closeSync(openSync(device, 'r+'));
    } catch {
      return `no ${device}`;
    }
  }
  const tools = ['qemu-storage-daemon', 'mke2fs', 'mount'];
  return tools.find((tool) => spawnSync('which', [tool], { env: { PATH: `${process.env['PATH']}:/usr/sbin:/sbin` } }).status !== 0) ?? null;
}

/** 11 MiB: an MBR with one partition, ext4, with the file `home/letter` in it. What it is made of lies in `directory`. */
export async function guestDisk(directory: string, letter: Uint8Array): Promise<Buffer> {
  const files = join(directory, 'files');
  await mkdir(join(files, 'home'), { recursive: true });
  await writeFile(join(files, 'home', 'letter'), letter);
  const image = join(directory, 'partition.img');
  const made = spawnSync('/usr/sbin/mke2fs', ['-q', '-t', 'ext4', '-d', files, image, '10M'], { encoding: 'utf8' });
  expect(made.status, made.stderr).toBe(0);
  const content = await readFile(image);
  const table = Buffer.alloc(PARTITION_AT);
  table[446 + 4] = 0x83;
  table.writeUInt32LE(PARTITION_AT / 512, 446 + 8);
  table.writeUInt32LE(content.length / 512, 446 + 12);
  table.writeUInt16LE(0xaa55, 510);
  return Buffer.concat([table, content]);
}

/** What is mounted there and below. */
export async function mountsBelow(path: string): Promise<string[]> {
  return (await readFile('/proc/self/mountinfo', 'utf8')).split('\n').filter((line) => line.includes(` ${path}`));
}
