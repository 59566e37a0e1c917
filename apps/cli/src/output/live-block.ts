import { stripVTControlCharacters } from 'node:util';

export interface LiveLine {
  readonly text: string;
  /** It will not change any more. */
  readonly isFinal: boolean;
}

/** Lines that are drawn again in place on a terminal. Elsewhere each is written once, when it is final. */
export class LiveBlock {
  private drawnLines = 0;
  private readonly written = new Set<string>();

  constructor(private readonly out: NodeJS.WriteStream) {}

  show(lines: readonly LiveLine[]): void {
    if (!this.out.isTTY) {
      for (const { text, isFinal } of lines) if (isFinal) this.#writeOnce(stripVTControlCharacters(text));
      return;
    }
    // A line that wrapped would be two, and the next drawing would begin too low.
    const fits = lines.map(({ text }) =>
      stripVTControlCharacters(text).length < this.out.columns ? text : cut(text, this.out.columns - 1),
    );
    const up = this.drawnLines === 0 ? '' : `\u001b[${this.drawnLines}A`;
    this.out.write(`${up}${fits.map((text) => `\u001b[2K${text}\n`).join('')}\u001b[0J`);
    this.drawnLines = fits.length;
  }

  #writeOnce(text: string): void {
    if (this.written.has(text)) return;
    this.written.add(text);
    this.out.write(`${text}\n`);
  }
}

function cut(text: string, columns: number): string {
  return stripVTControlCharacters(text).slice(0, columns);
}
