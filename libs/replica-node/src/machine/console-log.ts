import { open } from 'node:fs/promises';
import { KIB } from '#libs/kernel';

const READ_BYTES_MAX = 256 * KIB;
const TAIL_BYTES = 4 * KIB;

/** The file that a VM's serial console is appended to, read as it grows. */
export class ConsoleLog {
  #position = 0;
  #tail = '';

  constructor(private readonly path: string) {}

  /** The last lines, fit for a report: no control characters but line ends. */
  get tail(): string {
    return this.#tail;
  }

  /** What came since the last time, at most 256 KiB; nothing where there is no file yet. */
  async readNew(): Promise<string> {
    const file = await open(this.path, 'r').catch(() => null);
    if (file === null) return '';
    try {
      const { size } = await file.stat();
      // A guest that floods its console loses the middle of it, never the end.
      const from = Math.max(this.#position, size - READ_BYTES_MAX);
      const bytes = Buffer.alloc(Math.max(0, size - from));
      const { bytesRead } = await file.read(bytes, 0, bytes.length, from);
      this.#position = from + bytesRead;
      const text = bytes.toString('utf8', 0, bytesRead);
      this.#tail = (this.#tail + printable(text)).slice(-TAIL_BYTES);
      return text;
    } finally {
      await file.close();
    }
  }
}

/** Escape sequences and other control characters could steer the terminal of whoever reads the report. */
function printable(text: string): string {
  return (
    text
      // oxlint-disable-next-line no-control-regex -- control characters are what is removed
      .replace(/\u001b\[[0-9;?]*[A-Za-z]/g, '')
      // oxlint-disable-next-line no-control-regex -- control characters are what is removed
      .replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, '')
  );
}
