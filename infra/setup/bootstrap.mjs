/**
 * Every command's way in: makes a machine with only Git, Node.js ≥ 20.19 and npm ready, then hands over to Node.js 24.
 * A second run finds everything done. Plain JavaScript without packages: nothing is installed yet when it runs.
 *
 *   node infra/setup/bootstrap.mjs demo|start|test|test:long|bench|check [arguments of the command]
 */
import { delimiter, dirname, join } from 'node:path';
import { build } from './build.mjs';
import { handOver, ROOT, SetupError } from './console.mjs';
import { assertNodeVersion, ensureNpmPackages, node24 } from './npm-packages.mjs';
import { ensureOsPackages } from './os-packages.mjs';

/** `needs`: whose operating system packages; null for none. `runs`: the script that Node.js 24 gets, and its first arguments. */
const COMMANDS = {
  demo: { needs: 'demo', runs: ['dist/infra/demo/main.js'] },
  start: { needs: 'start', runs: ['dist/apps/cli/src/main.js', 'up'] },
  test: { needs: 'test', runs: ['infra/setup/test.mjs'] },
  'test:long': { needs: 'test', runs: ['infra/setup/test.mjs'], env: { HOLDFAST_TEST_LONG: '1' } },
  bench: { needs: 'bench', runs: ['dist/test/bench/main.js'] },
  check: { needs: null, runs: ['infra/setup/check.mjs'] },
};

async function main([name, ...args]) {
  const command = COMMANDS[name];
  if (command === undefined) throw new SetupError(`usage: node infra/setup/bootstrap.mjs ${Object.keys(COMMANDS).join('|')}`, 2);
  assertNodeVersion();
  if (command.needs !== null) await ensureOsPackages(command.needs);
  await ensureNpmPackages();
  const node = node24();
  await build(node);
  const [script, ...first] = command.runs;
  const env = { ...process.env, ...command.env, PATH: [dirname(node), process.env.PATH].join(delimiter) };
  return handOver(node, [join(ROOT, script), ...first, ...args], env);
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  process.stderr.write(`\n${error.message}\n`);
  process.exitCode = error.exitCode;
}
