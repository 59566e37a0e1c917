import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { putBytes } from '#libs/object-store';
import { ThirdSites } from './third-sites.js';

let directory: string;
beforeAll(async () => void (directory = await mkdtemp(join(tmpdir(), 'third-sites-'))));
afterAll(() => rm(directory, { recursive: true }));

async function load(content: string): Promise<ThirdSites> {
  const file = join(directory, 'sites.json');
  await writeFile(file, content);
  return ThirdSites.load(file);
}

describe('THIRD_SITES_FILE', () => {
  it('names stores, each opened when it is needed', async () => {
    const vault = pathToFileURL(join(directory, 'vault')).href;
    const berlin = { url: 's3://holdfast/copy', accessKeyId: 'a', secretAccessKey: 'b', endpoint: 'http://127.0.0.1:1' };
    const sites = await load(JSON.stringify({ vault: { url: vault }, berlin }));
    expect(sites.names).toEqual(['berlin', 'vault']);
    await putBytes(await sites.open('vault'), 't/a', Buffer.from('a'));
    expect(await sites.open('vault')).toBe(await sites.open('vault'));
    expect(await (await sites.open('vault')).head('t/a')).toEqual({ sizeBytes: 1 });
    await expect(sites.open('paris')).rejects.toMatchObject({ code: 'third-site.unknown', details: { known: ['berlin', 'vault'] } });
  });

  it('is not needed', async () => {
    expect((await ThirdSites.load(undefined)).names).toEqual([]);
  });

  it.each([
    ['no JSON', '{'],
    ['a name that is none', '{"Berlin!": {"url": "file:///x"}}'],
    ['a site without an address', '{"berlin": {}}'],
    ['a word that is not known', '{"berlin": {"url": "file:///x", "secret": "hush"}}'],
  ])('is refused with %s, and shows no secret', async (_, content) => {
    await expect(load(content)).rejects.toMatchObject({ code: 'config.invalid', message: expect.not.stringContaining('hush') });
  });
});
