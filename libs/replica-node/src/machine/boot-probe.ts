import { SECOND_MS } from '#libs/kernel';

export interface BootProbeSettings {
  /** A console line that says: the guest is up. Null: only activity counts. */
  readonly pattern: RegExp | null;
  /** A console that goes on talking after the boot loader is one of a guest at work. Null: only the pattern counts. */
  readonly activity: { readonly linesMin: number; readonly spanMs: number } | null;
}

/** What convinced the probe. */
export type BootProof =
  | { readonly kind: 'console-pattern'; readonly line: string }
  | { readonly kind: 'console-activity'; readonly lineCount: number; readonly spanMs: number };

export const DEFAULT_BOOT_PROBE: BootProbeSettings = {
  pattern: /GUEST-UP|\blogin:|Reached target|\btick \d+/,
  activity: { linesMin: 20, spanMs: 15 * SECOND_MS },
};

/** What firmware and boot loaders print: no sign of the guest's own life. */
const BEFORE_THE_GUEST = /SeaBIOS|iPXE|UEFI|BdsDxe|SYSLINUX|ISOLINUX|GRUB|GNU|Booting from|Loading |No bootable device/i;
/** After this whatever is printed is a guest's death, until it boots again. */
const FATAL = /Kernel panic|not syncing|No bootable device|Attempted to kill init|Unable to mount root/i;
const LINE_CHARACTERS_MAX = 4096;

/**
 * Judges by the serial console whether a guest came up: a line that says so, or enough lines over enough time. Feed it what the console
 * brought since the machine's start; it never goes back on a proof.
 */
export class BootProbe {
  #rest = '';
  #lineCount = 0;
  #firstLineMs: number | null = null;
  #proof: BootProof | null = null;

  constructor(private readonly settings: BootProbeSettings = DEFAULT_BOOT_PROBE) {}

  get proof(): BootProof | null {
    return this.#proof;
  }

  /** `nowMs` is a monotonic clock's. Returns the proof as soon as there is one. */
  observe(text: string, nowMs: number): BootProof | null {
    const lines = (this.#rest + text).split(/\r?\n|\r/);
    this.#rest = lines.pop()!.slice(-LINE_CHARACTERS_MAX);
    for (const line of lines) this.#take(line, nowMs);
    // A prompt has no end of line.
    this.#matchPattern(this.#rest);
    return this.#proof;
  }

  #take(line: string, nowMs: number): void {
    if (this.#proof !== null || this.#matchPattern(line)) return;
    if (line.trim() === '' || BEFORE_THE_GUEST.test(line)) return;
    if (FATAL.test(line)) {
      this.#lineCount = 0;
      this.#firstLineMs = null;
      return;
    }
    this.#lineCount += 1;
    this.#firstLineMs ??= nowMs;
    const { activity } = this.settings;
    const spanMs = nowMs - this.#firstLineMs;
    if (activity !== null && this.#lineCount >= activity.linesMin && spanMs >= activity.spanMs) {
      this.#proof = { kind: 'console-activity', lineCount: this.#lineCount, spanMs };
    }
  }

  #matchPattern(line: string): boolean {
    if (this.#proof !== null || this.settings.pattern?.test(line) !== true) return false;
    this.#proof = { kind: 'console-pattern', line: line.trim().slice(0, 200) };
    return true;
  }
}
