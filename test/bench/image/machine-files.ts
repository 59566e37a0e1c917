import { copyFile, mkdir, readdir, stat } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';

const FILE_BYTES_MAX = 64 * 1024 * 1024;

/**
 * Copies regular files of this machine below `trees`, in the order of their names, until `bytesMax` are together: programs and texts as people have them.
 * The same machine gives the same files as long as nothing is installed. Returns the bytes copied.
 */
export async function copyMachineFiles(trees: readonly string[], target: string, bytesMax: number): Promise<number> {
  let copied = 0;
  for (const tree of trees) {
    for await (const { path, sizeBytes } of filesBelow(tree)) {
      if (sizeBytes === 0 || sizeBytes > FILE_BYTES_MAX || copied + sizeBytes > bytesMax) continue;
      const to = join(target, relative('/', path));
      await mkdir(dirname(to), { recursive: true });
      await copyFile(path, to);
      copied += sizeBytes;
    }
  }
  return copied;
}

async function* filesBelow(directory: string): AsyncGenerator<{ path: string; sizeBytes: number }> {
  const entries = await readdir(directory, { withFileTypes: true }).catch(() => []);
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) yield* filesBelow(path);
    else if (entry.isFile()) yield { path, sizeBytes: (await stat(path).catch(() => ({ size: 0 }))).size };
  }
}
