import { SingleBar } from 'cli-progress';
import Table from 'cli-table3';

export interface Bar {
  /** Never goes back. */
  reach(value: number): void;
  end(): void;
}

/** Says what happens, in plain words. Bars move on a terminal only; elsewhere a line says what is waited for. */
export class Narrator {
  private stepNumber = 0;
  private bar: SingleBar | undefined;

  constructor(private readonly out: NodeJS.WriteStream) {}

  step(title: string): void {
    this.stepNumber += 1;
    this.say(`\n${this.stepNumber}. ${title}`);
  }

  say(text: string): void {
    this.out.write(`${text}\n`);
  }

  /** A line of the step that is under way. */
  tell(text: string): void {
    for (const line of text.split('\n')) this.say(`   ${line}`);
  }

  table(head: readonly string[], rows: readonly (readonly (string | number)[])[]): void {
    const table = new Table({ head: [...head], style: { head: [], border: [], compact: true } });
    for (const row of rows) table.push(row.map(String));
    this.tell(table.toString());
  }

  /** `format` turns a value into words: `12.3 MiB`. */
  startBar(what: string, total: number, format: (value: number) => string = String): Bar {
    if (!this.out.isTTY) {
      this.tell(`${what} …`);
      return { reach: () => undefined, end: () => undefined };
    }
    const bar = new SingleBar({
      format: `   ${what} {bar} {words}`,
      stream: this.out,
      barsize: 30,
      hideCursor: true,
      clearOnComplete: true,
      gracefulExit: false,
    });
    this.bar = bar;
    let reached = 0;
    bar.start(total, 0, { words: format(0) });
    return {
      reach: (value) => {
        reached = Math.min(total, Math.max(reached, value));
        bar.update(reached, { words: format(value) });
      },
      end: () => {
        bar.stop();
        this.bar = undefined;
      },
    };
  }

  /** Leaves the terminal as it was, whatever was under way. */
  close(): void {
    this.bar?.stop();
  }
}
