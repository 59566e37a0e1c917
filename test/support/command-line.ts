import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { z } from 'zod';

export const HOLDFAST = fileURLToPath(new URL('../../bin/holdfast', import.meta.url));

export interface CommandRun {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** The built `bin/holdfast` as child processes of somebody whose home directory is `home`. */
export class CommandLine {
  /** And nothing else. */
  readonly environment: Readonly<Record<string, string>>;

  constructor(home: string) {
    this.environment = { PATH: process.env['PATH'] ?? '', HOME: home, XDG_CONFIG_HOME: home };
  }

  start(args: readonly string[], environment: Record<string, string> = {}): ChildProcessWithoutNullStreams {
    return spawn(HOLDFAST, args, { env: { ...this.environment, ...environment } });
  }

  /** To its end, whatever that is. */
  async run(args: readonly string[], input = '', environment: Record<string, string> = {}): Promise<CommandRun> {
    const child = this.start(args, environment);
    let [out, err] = ['', ''];
    child.stdout.on('data', (data) => (out += String(data)));
    child.stderr.on('data', (data) => (err += String(data)));
    // A command that reads nothing may have ended already.
    child.stdin.on('error', () => undefined).end(input);
    const [code] = (await once(child, 'close')) as [number | null];
    return { code, out, err };
  }

  /** Succeeds, and returns what was said. */
  async done(args: readonly string[], input = ''): Promise<string> {
    const { code, out, err } = await this.run(args, input);
    if (code !== 0) throw new Error(`holdfast ${args.join(' ')} ended with ${code}: ${err}`);
    return out;
  }

  /** Succeeds, and returns what programs get. */
  async json<S extends z.ZodType>(schema: S, args: readonly string[]): Promise<z.output<S>> {
    return schema.parse(JSON.parse(await this.done([...args, '--json'])));
  }
}
