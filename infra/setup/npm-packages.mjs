/** node_modules as package-lock.json wants it, and the Node.js to run on. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT, say, step, SetupError } from './console.mjs';

const WANTED_MAJOR = 24;
const OLDEST = [20, 19];

/** The machine's own Node only has to carry the set-up and npm. */
export function assertNodeVersion() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1])) {
    throw new SetupError(`Holdfast needs Node.js ${OLDEST.join('.')} or newer; this is ${process.versions.node} (${process.execPath}).`, 2);
  }
  if (process.platform !== 'linux' || !['x64', 'arm64'].includes(process.arch)) {
    throw new SetupError(`Holdfast runs on Linux on x64 or arm64; this is ${process.platform} on ${process.arch}.`, 2);
  }
}

export async function ensureNpmPackages() {
  if (isInstalled()) return;
  say('npm packages differ from package-lock.json:');
  // The npm that runs us, or the one on the path; all groups, whatever NODE_ENV or a user's settings leave out.
  const npm = process.env.npm_execpath?.endsWith('.js') ? [process.execPath, process.env.npm_execpath] : ['npm'];
  const [command, ...args] = [...npm, 'ci', '--include=dev', '--include=optional', '--no-audit', '--no-fund'];
  await step('npm ci', command, args);
}

/** npm writes what it installed to a lock of its own when it is done: the two are compared package by package. */
function isInstalled() {
  const hidden = join(ROOT, 'node_modules', '.package-lock.json');
  if (!existsSync(hidden)) return false;
  const wanted = packagesOf(join(ROOT, 'package-lock.json'));
  const found = packagesOf(hidden);
  return Object.entries(wanted).every(([path, entry]) => {
    if (path === '') return true;
    const here = found[path];
    // Packages for other processors are in the lock and rightly not here.
    if (here === undefined) return entry.optional === true;
    return here.version === entry.version && here.integrity === entry.integrity;
  });
}

function packagesOf(lock) {
  return JSON.parse(readFileSync(lock, 'utf8')).packages ?? {};
}

/** The path of Node.js 24: the one that npm installed, else the machine's own when it is new enough. */
export function node24() {
  const installed = join(ROOT, 'node_modules', '.bin', 'node');
  if (existsSync(installed)) return installed;
  if (Number(process.versions.node.split('.')[0]) >= WANTED_MAJOR) return process.execPath;
  throw new SetupError(`Node.js ${WANTED_MAJOR} is not in node_modules: npm left out optional packages. Run: npm ci --include=optional`, 2);
}
