import { statSync } from 'node:fs';
import { createConnection, createServer, type Server } from 'node:net';
import { CodedError } from '#libs/kernel';
import { makeDataDir } from './data-dir.js';

/** Held while an instance runs in a data directory. */
export interface InstanceLock {
  release(): Promise<void>;
}

/**
 * Makes sure that one instance alone works in `dataDir`, which is made when missing. The lock is a listening socket in Linux's
 * abstract namespace, named by the directory itself: the kernel grants it to one process and takes it back when that dies, so
 * no stale lock can ever be left. Throws `instance.running`, `instance.foreign-directory`.
 */
export async function lockInstance(dataDir: string): Promise<InstanceLock> {
  assertOwn(dataDir);
  makeDataDir(dataDir);
  const { dev, ino } = statSync(dataDir);
  const name = `\0holdfast-instance-${dev}-${ino}`;
  const server = createServer((peer) => {
    peer.on('error', () => undefined);
    peer.end(`${process.pid}`);
  });
  server.unref();
  try {
    await listen(server, name);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw cause;
    const message = `Holdfast runs already in ${dataDir} (process ${await holderOf(name)}); stop that one or choose another directory`;
    throw new CodedError('instance.running', 'conflict', message, { dataDir }, cause);
  }
  return { release: () => new Promise((resolve) => server.close(() => resolve())) };
}

function assertOwn(dataDir: string): void {
  const uid = statSync(dataDir, { throwIfNoEntry: false })?.uid;
  if (uid === undefined || uid === process.getuid?.()) return;
  const message = `the data directory ${dataDir} belongs to another user (uid ${uid}); run as that user or choose another directory`;
  throw new CodedError('instance.foreign-directory', 'forbidden', message, { dataDir });
}

function listen(server: Server, name: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(name, resolve);
  });
}

function holderOf(name: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = createConnection(name);
    socket.setTimeout(1000, () => socket.destroy());
    let pid = '';
    socket.on('data', (data) => {
      pid = data.toString();
    });
    socket.on('error', () => undefined);
    socket.on('close', () => resolve(pid === '' ? 'unknown' : pid));
  });
}
