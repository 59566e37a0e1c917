import type { BootProofKind } from '#libs/contracts/commands';
import { SECOND_MS } from '#libs/kernel';

export interface BootProbeSettings {
  /** Console lines that say: the guest is up. */
  readonly patterns: readonly RegExp[];
  /** A guest that prints something in so many different seconds, after its kernel has handed over, is at work. Null: only patterns count. */
  readonly activity: { readonly secondsMin: number } | null;
}

/** What convinced the probe: a line, or in how many seconds something was printed. */
export interface BootProof {
  readonly kind: BootProofKind;
  readonly detail: string;
}

/** What the console says against a guest that is not proven up. */
export interface BootDoubt {
  readonly code: string;
  readonly message: string;
}

/** What guests of many kinds print last: login prompts, systemd's targets, cloud-init, Windows' emergency services. */
const GENERAL_PATTERNS: readonly RegExp[] = [
  /\blogin:/,
  /Reached target (?:multi-user\.target|graphical\.target|Multi-User System|Graphical Interface)/,
  /Cloud-init v\. \S{1,80} finished at/,
  // Its prompt alone comes while Windows still boots.
  /EVENT:\s+The CMD command is now available/,
];

/** The settings for guests of any kind, and for those that print a line of their own. */
export function bootProbeSettings(...own: readonly RegExp[]): BootProbeSettings {
  return { patterns: [...own, ...GENERAL_PATTERNS], activity: { secondsMin: 20 } };
}

const DOUBTS: readonly (BootDoubt & { readonly sign: RegExp })[] = [
  { code: 'boot.kernel-panic', message: "the guest's kernel panicked", sign: /Kernel panic|Attempted to kill init|\*\*\* STOP: 0x/i },
  {
    code: 'boot.no-root',
    message: 'the guest does not find its root file system',
    sign: /Unable to mount root|Gave up waiting for (?:the )?root|ALERT! .{0,200}does not exist|\(initramfs\) |dracut-initqueue.{0,60}(?:timeout|Warning)|dracut:\/#|Timed out waiting for device/i,
  },
  {
    code: 'boot.emergency-mode',
    message: 'the guest came up in emergency mode',
    sign: /emergency mode|rescue mode|emergency\.target|Give root password for maintenance/i,
  },
  {
    code: 'boot.no-bootable-device',
    message: 'the guest has nothing to boot from',
    sign: /No bootable device|grub rescue>|error: no such device|Operating system not found|Missing operating system|BOOTMGR is missing/i,
  },
];
const NO_SIGN: BootDoubt = { code: 'boot.no-sign', message: 'the serial console gave no sign that the guest is up' };

/** With one of these a guest begins anew. */
const BOOT_BEGINS = /SeaBIOS|iPXE|BdsDxe|Linux version \d/;
const INITIAL_RAM_DISK_BEGINS = /Welcome to .{0,80}\(Initramfs\)/i;
const INITIAL_RAM_DISK_ENDS = /Switching root|Switch Root|Welcome to /;
/** What boot loaders, the kernel itself, and those who wait for a disk print: no sign of the guest's own life. */
const NOT_YET =
  /^\[ *\d+\.\d+\]|UEFI|SYSLINUX|ISOLINUX|GRUB|Booting|Loading |Decompressing|EFI stub|^Begin: |^done\.$|\/scripts\/|dracut|job is running/;
// oxlint-disable-next-line no-control-regex -- control characters are what is removed
const ESCAPE_SEQUENCES = /\u001b\[[0-9;?]*[A-Za-z]/g;
const LINE_CHARACTERS_MAX = 1024;

/**
 * Judges by the serial console whether a guest came up: a line that says so, or enough talk over enough time. Feed it what the console
 * brought since the machine's start; it never goes back on a proof. The text is hostile: lines are cut, and each costs bounded time.
 */
export class BootProbe {
  #rest = '';
  #isInInitialRamDisk = false;
  readonly #seconds = new Set<number>();
  #proof: BootProof | null = null;
  #doubt: BootDoubt | null = null;

  constructor(private readonly settings: BootProbeSettings = bootProbeSettings()) {}

  get proof(): BootProof | null {
    return this.#proof;
  }

  /** Why there is no proof. */
  get doubt(): BootDoubt {
    return this.#doubt ?? NO_SIGN;
  }

  /** `nowMs` is a monotonic clock's. Returns the proof as soon as there is one. */
  observe(text: string, nowMs: number): BootProof | null {
    const lines = (this.#rest + text).split(/\r?\n|\r/);
    this.#rest = lines.pop()!.slice(-LINE_CHARACTERS_MAX);
    for (const line of lines) {
      if (this.#proof !== null) break;
      this.#take(legible(line), nowMs);
    }
    // A prompt has no end of line.
    if (this.#proof === null) this.#judge(legible(this.#rest));
    return this.#proof;
  }

  #take(line: string, nowMs: number): void {
    if (line.trim() === '') return;
    if (BOOT_BEGINS.test(line)) return this.#beginAnew();
    if (this.#judge(line)) return;
    if (INITIAL_RAM_DISK_BEGINS.test(line)) this.#isInInitialRamDisk = true;
    else if (INITIAL_RAM_DISK_ENDS.test(line)) this.#isInInitialRamDisk = false;
    if (this.#isInInitialRamDisk || this.#doubt !== null || NOT_YET.test(line)) return;
    this.#seconds.add(Math.floor(nowMs / SECOND_MS));
    const { activity } = this.settings;
    if (activity === null || this.#seconds.size < activity.secondsMin) return;
    this.#proof = { kind: 'console-activity', detail: `lines in ${this.#seconds.size} different seconds` };
  }

  #beginAnew(): void {
    this.#isInInitialRamDisk = false;
    this.#seconds.clear();
    this.#doubt = null;
  }

  /** Whether the line alone says that the guest is up, or that something is wrong. After that only a pattern, or a new boot, helps. */
  #judge(line: string): boolean {
    const doubt = DOUBTS.find(({ sign }) => sign.test(line));
    if (doubt !== undefined) this.#doubt = { code: doubt.code, message: doubt.message };
    else if (this.settings.patterns.some((pattern) => pattern.test(line))) {
      this.#proof = { kind: 'console-pattern', detail: line.trim().slice(0, 200) };
    } else return false;
    return true;
  }
}

function legible(line: string): string {
  return line.slice(0, LINE_CHARACTERS_MAX).replace(ESCAPE_SEQUENCES, '');
}
