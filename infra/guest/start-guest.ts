import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { BuiltGuest } from './build-guest.js';
import { parseConsole, type GuestTick } from './read-guest.js';

const run = promisify(execFile);

export interface StartGuestOptions {
  readonly guest: BuiltGuest;
  /** Takes the disks, sockets and logs. Its path is short: sockets lie in it. */
  readonly directory: string;
  readonly name: string;
  readonly uuid: string;
  /** Lower case, with colons. */
  readonly mac: string;
  readonly accelerator?: 'kvm' | 'tcg';
}

/** A guest running in QEMU as a primary site would run it: disk 1 raw, disk 2 VHDX, a monitor for the agent. */
export interface RunningGuest {
  readonly pid: number;
  /** Free for an agent. */
  readonly qmpSocketPath: string;
  readonly consoleLogPath: string;
  readonly disks: readonly [{ readonly path: string; readonly format: 'raw' }, { readonly path: string; readonly format: 'vhdx' }];
  /** The newest tick of the last boot. */
  lastTick(): Promise<GuestTick | null>;
  /** Resolves when the counter has reached `counter`; throws after the deadline. */
  waitForTick(counter: number, timeoutMs?: number): Promise<GuestTick>;
  /** Ends QEMU with SIGKILL; resolves when it is gone. May be called twice. */
  kill(): Promise<void>;
}

/** Starts on copies of the guest's disks, or on the disks that are there already. QEMU dies with this process. */
export async function startGuest(options: StartGuestOptions): Promise<RunningGuest> {
  const { guest, directory, name, uuid, mac, accelerator = 'tcg' } = options;
  const [disk1, disk2] = [join(directory, 'disk1.raw'), join(directory, 'disk2.vhdx')];
  const [qmpSocketPath, consoleLogPath] = [join(directory, 'qmp.sock'), join(directory, 'console.log')];
  await mkdir(directory, { recursive: true });
  if (!existsSync(disk1)) await run('cp', ['--sparse=always', guest.systemDiskPath, disk1]);
  if (!existsSync(disk2)) await run('qemu-img', ['convert', '-f', 'raw', '-O', 'vhdx', guest.dataDiskPath, disk2]);

  const blockdev = (node: string, driver: string, filename: string): string[] => [
    '-blockdev',
    JSON.stringify({ driver, 'node-name': node, discard: 'unmap', file: { driver: 'file', filename } }),
  ];
  const args = [
    `-name ${name} -uuid ${uuid} -accel ${accelerator} -cpu max -m 256 -nodefaults -display none -vga std`.split(' '),
    ['-chardev', `file,id=console,path=${consoleLogPath},append=on`, '-serial', 'chardev:console'],
    ['-qmp', `unix:${qmpSocketPath},server=on,wait=off`],
    blockdev('disk1', 'raw', disk1),
    ['-device', 'virtio-blk-pci,drive=disk1,id=vd0,bootindex=0'],
    blockdev('disk2', 'vhdx', disk2),
    ['-device', 'virtio-blk-pci,drive=disk2,id=vd1'],
    ['-netdev', 'user,id=lan,restrict=on', '-device', `virtio-net-pci,netdev=lan,id=net0,mac=${mac}`],
  ].flat();
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', 'qemu-system-x86_64', ...args], {
    stdio: ['ignore', 'ignore', 'inherit'],
    detached: true,
  });
  const ended = once(child, 'exit');
  await once(child, 'spawn');
  const hasEnded = (): boolean => child.exitCode !== null || child.signalCode !== null;

  const lastTick = async (): Promise<GuestTick | null> => {
    const text = await readFile(consoleLogPath, 'utf8').catch(() => '');
    return parseConsole(text).at(-1)?.ticks.at(-1) ?? null;
  };
  return {
    pid: child.pid!,
    qmpSocketPath,
    consoleLogPath,
    disks: [
      { path: disk1, format: 'raw' },
      { path: disk2, format: 'vhdx' },
    ],
    lastTick,
    waitForTick: async (counter, timeoutMs = 120_000) => {
      const deadlineMs = performance.now() + timeoutMs;
      for (;;) {
        const tick = await lastTick();
        if (tick !== null && tick.counter >= counter) return tick;
        if (hasEnded()) throw new Error('the guest’s QEMU ended');
        if (performance.now() > deadlineMs) throw new Error(`the guest did not reach tick ${counter} in ${timeoutMs} ms`);
        await sleep(50);
      }
    },
    kill: async () => {
      child.kill('SIGKILL');
      if (!hasEnded()) await ended;
    },
  };
}
