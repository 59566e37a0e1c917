/** TypeScript to dist/, and the portal's pages, when there is something new. */
import { existsSync, readdirSync, rmSync, statSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { ROOT, say, step } from './console.mjs';
import { runQuietly } from './console.mjs';

const DIST = join(ROOT, 'dist');
const PORTAL = join(ROOT, 'apps', 'portal');
const PORTAL_DIST = join(DIST, 'apps', 'portal');

export async function build(node) {
  removeOrphans();
  // Incremental: well below a second when nothing changed, so it is not worth announcing unless it fails.
  const compile = ['node_modules/typescript7/bin/tsc', '-p', 'tsconfig.json'];
  if (existsSync(join(DIST, '.tsbuildinfo'))) {
    if ((await runQuietly(node, compile)) !== 0) await step('compile', node, compile);
  } else {
    say('Build:');
    await step('compile', node, compile);
  }
  if (isPortalStale())
    await step('portal pages', node, ['node_modules/vite/bin/vite.js', 'build', PORTAL, '--outDir', PORTAL_DIST, '--emptyOutDir']);
}

/** What was compiled from a source that is gone would still be found by name (migrations, processors): it goes too. */
function removeOrphans() {
  for (const path of filesBelow(DIST)) {
    if (path.startsWith(PORTAL_DIST) || !/\.js(\.map)?$/.test(path)) continue;
    const source = join(ROOT, relative(DIST, path).replace(/\.js(\.map)?$/, '.ts'));
    if (existsSync(source) || existsSync(`${source}x`)) continue;
    rmSync(path);
    // The compiler must not believe that it is still there when the source comes back.
    rmSync(join(DIST, '.tsbuildinfo'), { force: true });
  }
}

function isPortalStale() {
  if (!existsSync(join(PORTAL, 'index.html'))) return false;
  const built = statSync(join(PORTAL_DIST, 'index.html'), { throwIfNoEntry: false });
  if (built === undefined) return true;
  const sources = [PORTAL, ...['kernel', 'contracts', 'client'].map((name) => join(ROOT, 'libs', name))].flatMap(filesBelow);
  return [...sources, join(ROOT, 'package-lock.json')].some((path) => statSync(path).mtimeMs > built.mtimeMs);
}

function filesBelow(dir) {
  if (!existsSync(dir)) return [];
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? dirname(entry.path), entry.name));
}
