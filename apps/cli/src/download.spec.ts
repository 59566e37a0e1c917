import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { download } from './download.js';

const CONTENT = Buffer.from(Array.from({ length: 100_000 }, (_, at) => at % 251));
const SHA256 = createHash('sha256').update(CONTENT).digest('hex');

let directory: string;
let asked: number[];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'holdfast-download-'));
  asked = [];
});

afterEach(() => rm(directory, { recursive: true, force: true }));

/** Serves from where it is asked, or from the beginning, and breaks off at `endByte`. */
function serve(endByte: number, canResume = true) {
  return async (wanted: number) => {
    asked.push(wanted);
    const fromByte = canResume ? wanted : 0;
    const bytes = (async function* () {
      for (let at = fromByte; at < endByte; at += 1000) yield CONTENT.subarray(at, Math.min(at + 1000, endByte));
    })();
    return { fromByte, bytes };
  };
}

const fetchWith = (fetch: ReturnType<typeof serve>, id = 'x') =>
  download({ file: join(directory, 'disk.raw'), id, sizeBytes: CONTENT.length, fetch, onProgress: () => undefined });

describe('download', () => {
  it.each([true, false])('goes on where it broke off, or begins anew where that is not possible (%s)', async (canResume) => {
    await expect(fetchWith(serve(42_500))).rejects.toMatchObject({ code: 'cli.download-short' });
    expect(await readdir(directory)).toEqual(['disk.raw.x.part']);
    expect(await fetchWith(serve(CONTENT.length, canResume))).toEqual({ sizeBytes: CONTENT.length, sha256: SHA256 });
    expect(asked).toEqual([0, 42_500]);
    expect(await readdir(directory)).toEqual(['disk.raw']);
    expect((await readFile(join(directory, 'disk.raw'))).equals(CONTENT)).toBe(true);
  });

  it("never goes on with another export's beginning", async () => {
    await expect(fetchWith(serve(5000), 'other')).rejects.toMatchObject({ code: 'cli.download-short' });
    await fetchWith(serve(CONTENT.length));
    expect(asked).toEqual([0, 0]);
  });

  it('says that the file cannot be written', async () => {
    const missing = join(directory, 'missing', 'disk.raw');
    const options = { file: missing, id: 'x', sizeBytes: CONTENT.length, fetch: serve(CONTENT.length), onProgress: () => undefined };
    await expect(download(options)).rejects.toMatchObject({ code: 'cli.file' });
  });
});
