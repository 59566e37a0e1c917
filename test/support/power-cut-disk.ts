import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { MIB } from '#libs/kernel';
import { eventually } from './eventually.js';

const run = promisify(execFile);

/** ext4's own way to lose power (EXT4_IOC_SHUTDOWN without flushing the journal): from here on nothing reaches the disk. */
const CUT = 'open(my $top, "<", $ARGV[0]) or die $!; my $flags = pack("L", 2); defined(ioctl($top, 0x8004587d, $flags)) or die $!';

/**
 * An ext4 file system in an image file whose power can be cut: what the kernel had not yet written, and what no sync had asked for, is lost.
 * Needs root, a loop device and Perl.
 */
export class PowerCutDisk {
  readonly mountPoint: string;
  private readonly image: string;
  private isMounted = false;

  private constructor(private readonly directory: string) {
    this.image = join(directory, 'disk');
    this.mountPoint = join(directory, 'mounted');
  }

  /** Made, and mounted. */
  static async make(): Promise<PowerCutDisk> {
    const disk = new PowerCutDisk(await mkdtemp(join(tmpdir(), 'holdfast-power-')));
    try {
      await writeFile(disk.image, '');
      await truncate(disk.image, 256 * MIB);
      await mkdir(disk.mountPoint);
      await run('mkfs.ext4', ['-q', '-E', 'lazy_itable_init=1', disk.image]);
      await disk.mount();
    } catch (error) {
      await disk.remove();
      throw error;
    }
    return disk;
  }

  async cut(): Promise<void> {
    await run('perl', ['-e', CUT, this.mountPoint]);
  }

  /** After a {@link cut}, when nothing has a file open any more: checks the file system, which must need no repair, and mounts it. */
  async powerUp(): Promise<void> {
    await this.unmount();
    // Takes the journal up; then all must be well. 1: something was done, 4 and more: something was wrong.
    await run('e2fsck', ['-fp', this.image]).catch((error: { code?: number; stdout?: string }) => {
      if (error.code !== 1) throw new Error(`the file system is damaged: ${error.stdout}`, { cause: error });
    });
    await this.mount();
  }

  async remove(): Promise<void> {
    await this.unmount();
    await rm(this.directory, { recursive: true, force: true });
  }

  private async mount(): Promise<void> {
    await run('mount', ['-o', 'loop', this.image, this.mountPoint]);
    this.isMounted = true;
  }

  private async unmount(): Promise<void> {
    if (!this.isMounted) return;
    await eventually('the file system to be unmounted', () =>
      run('umount', [this.mountPoint]).then(
        () => true,
        () => false,
      ),
    );
    this.isMounted = false;
  }
}

/** Why power cannot be cut here, or undefined where it can. */
export async function whyNoPowerCuts(): Promise<string | undefined> {
  if (process.getuid?.() !== 0) return 'only root may mount';
  try {
    const disk = await PowerCutDisk.make();
    try {
      await disk.cut();
    } finally {
      await disk.remove();
    }
    return undefined;
  } catch (error) {
    return String((error as { stderr?: string }).stderr ?? error)
      .trim()
      .split('\n')[0];
  }
}
