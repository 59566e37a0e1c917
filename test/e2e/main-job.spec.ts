import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DemoReport } from '../../infra/demo/report.js';
import { eventually } from '../support/eventually.js';

const DEMO = fileURLToPath(new URL('../../dist/infra/demo/main.js', import.meta.url));

let dir: string;
let reportFile: string;
let child: ChildProcess | undefined;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'holdfast-demo-'));
  // PostgreSQL's own system user must get through.
  chmodSync(dir, 0o711);
  reportFile = join(dir, 'report.json');
});

afterEach(async () => {
  child?.kill('SIGKILL');
  await eventually('no process is left', () => processesOf(dir).length === 0, 30_000);
  rmSync(dir, { recursive: true, force: true });
});

interface Run {
  /** Everything it said, on both streams. */
  said(): string;
  readonly exited: Promise<number | null>;
}

function demo(): Run {
  child = spawn(process.execPath, [DEMO, '--quick', '--data', dir, '--report', reportFile], { env: { PATH: process.env['PATH'] } });
  let said = '';
  for (const stream of [child.stdout!, child.stderr!]) stream.on('data', (data) => (said += String(data)));
  return { said: () => said, exited: once(child, 'close').then(([code]) => code as number | null) };
}

const readReport = (): DemoReport => JSON.parse(readFileSync(reportFile, 'utf8')) as DemoReport;

/** Every process that says in its arguments or its environment that it works in the directory. */
function processesOf(directory: string): string[] {
  return readdirSync('/proc').filter((pid) => {
    try {
      if (!/^\d+$/.test(pid) || Number(pid) === process.pid) return false;
      return ['environ', 'cmdline'].some((file) => readFileSync(`/proc/${pid}/${file}`, 'utf8').includes(directory));
    } catch {
      return false;
    }
  });
}

/** A minute on an idle machine; the whole suite beside it makes it slow. */
describe('the main job', { timeout: 480_000 }, () => {
  it('protects a running VM, loses it, and brings it up from its replica', async () => {
    const run = demo();
    expect(await run.exited, run.said()).toBe(0);
    expect(processesOf(dir)).toEqual([]);

    const report = readReport();
    expect(report).toMatchObject({ ok: true, failure: null, bootVerified: true });
    expect(report.checks.filter(({ held }) => !held)).toEqual([]);
    expect(report.checks.length).toBeGreaterThanOrEqual(25);

    const deltas = report.cycles.filter(({ kind, isPoint, state }) => kind === 'delta' && isPoint && state === 'committed');
    expect(deltas.length).toBeGreaterThanOrEqual(5);
    expect(report.cycles.filter(({ resumedUploads }) => resumedUploads > 0).length).toBeGreaterThanOrEqual(2);
    expect(Math.max(...report.cycles.map(({ pauseMs }) => pauseMs))).toBeLessThan(1000);
    expect(report.cycles.slice(2).every(({ changedBytes }) => changedBytes < 64 * 2 ** 20)).toBe(true);

    const refused = report.refusals.filter(({ attempt }) => attempt !== 'list replicas');
    expect(refused.every(({ status }) => [0, 401, 403, 404, 410].includes(status))).toBe(true);
    expect(new Set(refused.map(({ answer }) => answer))).toEqual(
      new Set([
        'relationship.not-found',
        'cycle.not-found',
        'point.not-found',
        'cycle.wrong-tag',
        'authorization.not-allowed',
        'connection cut',
        'identity.revoked',
        'cycle.stale-epoch',
      ]),
    );
    expect(report.refusals.filter(({ attempt }) => attempt === 'list replicas').map(({ answer }) => answer)).toEqual([
      '0 listed',
      '0 listed',
      'authorization.not-allowed',
    ]);

    expect(report.rpoTicks).toBeGreaterThanOrEqual(0);
    expect(report.rpoTicks).toBeLessThan(60);
    expect(report.rtoSeconds).toBeGreaterThan(0);
    expect(readFileSync(report.screenshot!).subarray(1, 4).toString()).toBe('PNG');
    const formats = new Set(report.exports.map(({ format, isDifferencing }) => (isDifferencing ? `differencing ${format}` : format)));
    expect(formats).toEqual(new Set(['raw', 'vhd', 'vhdx', 'differencing vhd']));
  });

  it('leaves nothing behind when it is interrupted while the VM is being protected', async () => {
    const run = demo();
    await eventually('it protects', () => run.said().includes('initial replication') || child!.exitCode !== null, 120_000);
    child!.kill('SIGINT');
    expect(await run.exited, run.said()).toBe(130);
    expect(processesOf(dir)).toEqual([]);
    expect(readReport()).toMatchObject({ ok: false, failure: 'interrupted by SIGINT' });
  });
});
