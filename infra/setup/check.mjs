/** `npm run check`: format, lint, types, unit and architecture tests, in this order; stops at the first that fails. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { ROOT, say } from './console.mjs';

const bin = (path) => join(ROOT, 'node_modules', path);
const CHECKS = [
  ['format', [bin('prettier/bin/prettier.cjs'), '--check', '--log-level', 'warn', '.']],
  ['lint', [bin('oxlint/bin/oxlint')]],
  ['types', [bin('typescript7/bin/tsc'), '-p', 'tsconfig.json', '--noEmit', '--incremental', 'false']],
  ["the portal's types", [bin('typescript7/bin/tsc'), '-p', 'apps/portal']],
  ['unit and architecture tests', [bin('vitest/vitest.mjs'), 'run', '--project', 'unit', '--project', 'architecture']],
];

for (const [what, args] of CHECKS) {
  const startedMs = Date.now();
  say(`${what} …`);
  const { status } = spawnSync(process.execPath, args, { cwd: ROOT, stdio: 'inherit' });
  if (status !== 0) {
    process.stderr.write(`\ncheck failed: ${what}\n`);
    process.exit(status ?? 1);
  }
  say(`${what}: good, ${((Date.now() - startedMs) / 1000).toFixed(1)} s`);
}
