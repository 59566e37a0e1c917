import { appendFile, readFile, writeFile } from 'node:fs/promises';
import { KIB } from '#libs/kernel';

/** Of what a guest printed so much is kept. The file grows to twice that, and is then cut. */
const KEPT_CHARACTERS = 64 * KIB;
const TAIL_CHARACTERS = 4 * KIB;

/** What a VM's serial console brought last, in a file that never outgrows its bound, whatever the guest prints. */
export class ConsoleLog {
  #text = '';
  #fileCharacters = 0;

  constructor(private readonly path: string) {}

  /** What a former life of this process kept. */
  async readKept(): Promise<string> {
    const text = await readFile(this.path, 'utf8').catch(() => '');
    this.#fileCharacters = text.length;
    this.#text = text.slice(-KEPT_CHARACTERS);
    return this.#text;
  }

  /** The last lines, fit for a report: no control characters but line ends. */
  get tail(): string {
    return printable(this.#text.slice(-2 * TAIL_CHARACTERS)).slice(-TAIL_CHARACTERS);
  }

  async append(text: string): Promise<void> {
    if (text === '') return;
    this.#text = (this.#text + text).slice(-KEPT_CHARACTERS);
    const isFull = this.#fileCharacters + text.length > 2 * KEPT_CHARACTERS;
    this.#fileCharacters = isFull ? this.#text.length : this.#fileCharacters + text.length;
    await (isFull ? writeFile(this.path, this.#text) : appendFile(this.path, text));
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
