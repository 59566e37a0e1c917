/** `npm test`: every test project, then one plain line for machines: `N passed, N failed`. Arguments go to Vitest. */
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { handOver, ROOT, say } from './console.mjs';

const REPORT = join(ROOT, '.holdfast', 'test-report.json');

rmSync(REPORT, { force: true });
const vitest = join(ROOT, 'node_modules', 'vitest', 'vitest.mjs');
const args = ['run', '--root', ROOT, '--reporter=default', '--reporter=json', `--outputFile.json=${REPORT}`, ...process.argv.slice(2)];
const exitCode = await handOver(process.execPath, [vitest, ...args], process.env);
say(`\n${verdict(exitCode)}`);
process.exitCode = exitCode;

function verdict(exitCode) {
  let report;
  try {
    report = JSON.parse(readFileSync(REPORT, 'utf8'));
  } catch {
    return '0 passed, 1 failed (the test run itself ended early)';
  }
  // A file that could not even be loaded has no tests to count: it is one failure.
  const unloadable = report.testResults.filter((file) => file.status === 'failed' && file.assertionResults.length === 0).length;
  const failed = Math.max(report.numFailedTests + unloadable, exitCode === 0 ? 0 : 1);
  const skipped = report.numPendingTests + report.numTodoTests;
  return `${report.numPassedTests} passed, ${failed} failed${skipped === 0 ? '' : `, ${skipped} skipped`}`;
}
