/**
 * `npm run demo [-- --report FILE.json] [--keep] [--quick]`: the main job, end to end, on real parts. Exit code 0 only if every check held.
 */
import { resolve } from 'node:path';
import { Command } from 'commander';
import { messageOf } from '#libs/kernel';
import { runDemo } from './demo.js';

interface Flags {
  readonly report?: string;
  readonly keep?: true;
  readonly quick?: true;
  readonly data?: string;
}

const interruption = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => interruption.abort(new Error(`interrupted by ${signal}`)));
}
// A reader that went away (`npm run demo | head`) is no reason to leave children behind.
process.stdout.on('error', () => undefined);

const program = new Command('demo')
  .description('Shows the main job of Holdfast on real parts: protect a running VM, lose it, bring it up from its replica.')
  .option('--report <file>', 'write what was found out as JSON')
  .option('--keep', 'leave the platform and the failed-over VM running until Ctrl-C')
  .option('--quick', 'shorter waits')
  .option('--data <dir>', 'makes or empties a directory `demo` in it, and works there')
  .action(async ({ report, keep, quick, data }: Flags) => {
    const ok = await runDemo({
      ...(report === undefined ? {} : { reportFile: resolve(report) }),
      ...(data === undefined ? {} : { dataDir: resolve(data) }),
      keep: keep === true,
      isQuick: quick === true,
      signal: interruption.signal,
    });
    if (!ok) process.exitCode = 1;
  });
try {
  await program.parseAsync();
} catch (error) {
  process.stderr.write(`demo: ${messageOf(error)}\n`);
  process.exitCode = interruption.signal.aborted ? 130 : 1;
}
