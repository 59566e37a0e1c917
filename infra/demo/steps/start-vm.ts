import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MINUTE_MS } from '#libs/kernel';
import { buildGuest, startGuest, type RunningGuest } from '../../guest/index.js';
import type { Stage } from '../stage.js';

export const VM_NAME = 'orders-db';
const VM_ID = '8c7f5b1e-2d4a-4c39-9f0e-6a1b2c3d4e5f';

export interface Site {
  readonly guest: RunningGuest;
  /** The program that copies each recovery point beside the agent, and where the copies go. */
  readonly snapshotHook: string;
  readonly copiesDir: string;
}

/** The customer's VM: a real Linux in QEMU, with a raw and a VHDX disk, that counts and churns on both. */
export async function startVm(stage: Stage, guestCacheDir: string, distDir: string): Promise<Site> {
  const { narrator, siteDir, report } = stage;
  const guest = await buildGuest({ cacheDir: guestCacheDir, onProgress: (step) => narrator.tell(`${step} …`) });
  report.versions['guest'] = `Linux ${guest.kernelVersion}`;
  const running = await startGuest({
    guest,
    directory: join(siteDir, 'vm'),
    name: VM_NAME,
    uuid: VM_ID,
    mac: '52:54:00:c0:70:50',
  });
  stage.cleanup.defer(() => running.kill());
  narrator.tell(`${VM_NAME} runs Linux ${guest.kernelVersion} in QEMU, process ${running.pid}, and boots …`);
  const tick = await stage.within('the boot of the VM', 3 * MINUTE_MS, running.waitForTick(1, 3 * MINUTE_MS));
  narrator.table(
    ['disk', 'format', 'file'],
    running.disks.map(({ format, path }, at) => [at + 1, format, path]),
  );
  stage.check('the VM writes a counter with the time to both disks every second', true, `now at ${tick.counter}`);

  const copiesDir = join(siteDir, 'copies');
  await mkdir(copiesDir);
  const snapshotHook = join(siteDir, 'copy-point');
  await writeFile(snapshotHook, `#!/bin/sh\nexec '${process.execPath}' '${join(distDir, 'infra/demo/copy-point.js')}' '${copiesDir}'\n`);
  await chmod(snapshotHook, 0o700);
  return { guest: running, snapshotHook, copiesDir };
}
