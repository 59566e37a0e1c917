import { constants } from 'node:fs';
import { access, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { messageOf, type Logger } from '#libs/kernel';
import { lastWords, spawnQemu } from './qemu-process.js';

export type Accelerator = 'kvm' | 'tcg';

export interface ProbeAcceleratorOptions {
  readonly logger: Logger;
  /** How long KVM may take for the boot. Default 5 s. */
  readonly timeoutMs?: number;
}

/**
 * A boot sector that does what a kernel does first: opens A20, builds page tables, enters long mode by CR4, EFER and
 * CR0, asks CPUID a thousand times, adds ten million times to memory, then writes 0x2a to port 0x501. A KVM that only
 * pretends to work gets through the BIOS and stands still here.
 */
const BOOT_SECTOR =
  'fa31c08ed88ec08ed0bc0070b80124cd15bf0080b9001831c0fcf3abc70600800390c706009003a0c70600a083000f0116b47c0f20e0' +
  '6683c8200f22e066b8008000000f22d866b9800000c00f32660d000100000f300f20c0660d010000800f22c0ea677c0800b810000000' +
  '8ed88ed0bee803000031c00fa2ffce75f8b980969800010c2500000200ffc975f50f20d889c366ba0105b02aeef4ebfd000000000000' +
  '0000ffff0000009aaf00ffff00000092cf0017009c7c';

/** QEMU's isa-debug-exit ends with twice the value plus one. */
const REACHED_EXIT_CODE = 0x2a * 2 + 1;

/** `kvm` only after something really booted under it: `/dev/kvm` can be there and not work. Keep the answer for the process's life. Error: `qemu.missing`. */
export async function probeAccelerator({ logger, timeoutMs = 5000 }: ProbeAcceleratorOptions): Promise<Accelerator> {
  try {
    await access('/dev/kvm', constants.R_OK | constants.W_OK);
  } catch (error) {
    logger.info({ reason: messageOf(error) }, 'no KVM on this machine: virtual machines are emulated');
    return 'tcg';
  }
  const directory = await mkdtemp(join(tmpdir(), 'holdfast-kvm-'));
  try {
    const logPath = join(directory, 'qemu.log');
    const exitCode = await bootUnderKvm(directory, logPath, timeoutMs);
    if (exitCode === REACHED_EXIT_CODE) return 'kvm';
    logger.warn({ exitCode, words: await lastWords(logPath) }, '/dev/kvm is there and boots nothing: virtual machines are emulated');
    return 'tcg';
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function bootUnderKvm(directory: string, logPath: string, timeoutMs: number): Promise<number | null> {
  const image = Buffer.alloc(512);
  image.write(BOOT_SECTOR, 'hex');
  image.writeUInt16LE(0xaa55, 510);
  const imagePath = join(directory, 'boot.img');
  await writeFile(imagePath, image);
  const drive = `file=${imagePath},format=raw,if=ide,snapshot=on`;
  const args = ['-accel', 'kvm', '-cpu', 'host', '-m', '32', '-nodefaults', '-no-reboot', '-display', 'none', '-drive', drive];
  const child = await spawnQemu({ args: [...args, '-device', 'isa-debug-exit,iobase=0x501,iosize=1'], logPath, diesWithParent: true });
  const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
  const exitCode = await new Promise<number | null>((resolve) => child.once('exit', resolve));
  clearTimeout(timer);
  return exitCode;
}
