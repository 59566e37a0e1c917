import { copyFile, mkdir, open, readFile, rename, rm, writeFile, type FileHandle } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { BLOCK_BYTES } from '#libs/chain';
import { messageOf } from '#libs/kernel';
import { differencingVhdImage, dynamicVhdImage, FileSource, saveImage } from '#libs/vhd';
import type { Bench } from '../bench.js';
import { applyDelta } from '../image/delta.js';
import { runProgram } from '../run-program.js';

/** The newest that can be had whole from every npm registry that was tried: the parts of later ones are missing in some. */
const VERSION = '0.7.2';
const CREATED_AT = new Date('2026-01-01T00:00:00Z');

interface Merger {
  mergeVhd(parent: object, parentPath: string, child: object, childPath: string): Promise<number>;
}

export interface VhdHistory {
  readonly version: string;
  /** The chain again, for somebody who merges it. */
  copyTo(dir: string): Promise<{ mergeOldest(count: number): Promise<void> }>;
}

/** The image as a dynamic VHD and its deltas as differencing ones, and the library that merges them. */
export function vhdHistory(bench: Bench): Promise<VhdHistory | { readonly unmeasured: string }> {
  return bench.once(vhdHistory, async () => {
    const dir = join(bench.cacheDir, 'vhd-lib');
    await mkdir(dir, { recursive: true });
    try {
      await install(dir, bench.signal);
    } catch (error) {
      return { unmeasured: `vhd-lib could not be fetched: ${messageOf(error)}` };
    }
    const { mergeVhd } = createRequire(join(dir, 'package.json'))('vhd-lib') as Merger;
    await makeChain(bench, dir);
    const { deltas } = await bench.image();
    return {
      version: `vhd-lib ${VERSION}`,
      async copyTo(target) {
        bench.progress.step('vhd-lib: a copy of the chain');
        for (const name of [baseName, ...deltas.map((_, index) => childName(index))]) await copyFile(join(dir, name), join(target, name));
        return {
          async mergeOldest(count) {
            for (let child = 0; child < count; child += 1)
              await mergeVhd(FILES, join(target, baseName), FILES, join(target, childName(child)));
            await synced(join(target, baseName));
          },
        };
      },
    };
  });
}

async function install(dir: string, signal: AbortSignal): Promise<void> {
  const manifest = await readFile(join(dir, 'node_modules', 'vhd-lib', 'package.json'), 'utf8').catch(() => null);
  if (manifest !== null && (JSON.parse(manifest) as { version: string }).version === VERSION) return;
  await writeFile(join(dir, 'package.json'), '{ "private": true }\n');
  await runProgram('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--save-exact', `vhd-lib@${VERSION}`], {
    cwd: dir,
    signal,
  });
}

const baseName = 'base.vhd';
const childName = (index: number): string => `delta-${index + 1}.vhd`;

async function makeChain(bench: Bench, dir: string): Promise<void> {
  const isDone = join(dir, 'chain-is-done');
  if ((await readFile(isDone).catch(() => null)) !== null) return;
  const image = await bench.image();
  for (const name of [baseName, ...image.deltas.map((_, index) => childName(index))]) await rm(join(dir, name), { force: true });
  const copy = join(dir, 'disk.raw');
  await copyFile(image.path, copy);
  bench.progress.step('vhd-lib: the full VHD');
  // With every block: this vhd-lib cannot merge into one that the parent lacks.
  const source = await FileSource.open(copy);
  const base = await dynamicVhdImage(source, CREATED_AT);
  await saveImage(base, join(dir, baseName));
  let parent = { fileName: baseName, ...base.identity };
  for (const [index, delta] of image.deltas.entries()) {
    bench.progress.step(`vhd-lib: differencing VHD ${index + 1} of ${image.deltas.length}`);
    await applyDelta(copy, delta);
    const changes = delta.blocks.map((block) => ({ offset: block * BLOCK_BYTES, length: BLOCK_BYTES }));
    const child = differencingVhdImage(source, changes, parent, CREATED_AT);
    await saveImage(child, join(dir, childName(index)));
    parent = { fileName: childName(index), ...child.identity };
  }
  await source.close();
  await rm(copy);
  await writeFile(`${isDone}.new`, '');
  await rename(`${isDone}.new`, isDone);
}

/** Files as vhd-lib wants them given. */
const FILES = {
  openFile: (path: string, flags: string) => open(path, flags),
  closeFile: (file: FileHandle) => file.close(),
  read: (file: FileHandle, buffer: Buffer, position: number) => file.read(buffer, 0, buffer.length, position),
  write: (file: FileHandle, data: Buffer, position: number) => file.write(data, 0, data.length, position),
  getSize: async (file: FileHandle) => (await file.stat()).size,
};

async function synced(path: string): Promise<void> {
  const file = await open(path, 'r+');
  await file.sync();
  await file.close();
}
