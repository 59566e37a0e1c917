import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { ReaderJob, ReaderResult } from './random-reader.js';

/** Reads as the job says, in a process of its own. */
export async function readAtRandom(job: ReaderJob, signal: AbortSignal): Promise<ReaderResult> {
  const script = join(import.meta.dirname, 'random-reader.js');
  const { stdout } = await promisify(execFile)(process.execPath, [script, JSON.stringify(job)], { signal });
  return JSON.parse(stdout) as ReaderResult;
}
