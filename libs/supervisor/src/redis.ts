import { accessSync, constants, mkdirSync } from 'node:fs';
import { createConnection } from 'node:net';
import { join, resolve } from 'node:path';
import { CodedError, SilentLogger, SystemClock, type Clock, type Logger } from '#libs/kernel';
import { SupervisedProcess } from './supervised-process.js';

/** What a unix socket's address can hold on Linux. */
const SOCKET_PATH_MAX_BYTES = 107;
const SERVER = '/usr/bin/redis-server';

export interface RedisOptions {
  /** The server's own directory; made when missing. */
  readonly dir: string;
  /** Default: `<dir>/redis.log`. */
  readonly logFile?: string;
  /** Marks the server for {@link endLeftoverProcesses}. */
  readonly env?: Readonly<Record<string, string>>;
  readonly clock?: Clock;
  readonly logger?: Logger;
  /** Gives up the start; nothing is left running. */
  readonly signal?: AbortSignal;
}

export interface Redis {
  /** `unix:///…/redis.sock` */
  readonly url: string;
  readonly socketPath: string;
  readonly process: SupervisedProcess;
  stop(): Promise<void>;
}

/** Redis as a child on a unix socket, reachable by this user alone, keeping its data. Throws `redis.missing`, `process.not-ready`. */
export async function startRedis(options: RedisOptions): Promise<Redis> {
  assertInstalled();
  const dir = resolve(options.dir);
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const socketPath = join(dir, 'redis.sock');
  if (Buffer.byteLength(socketPath) > SOCKET_PATH_MAX_BYTES) {
    const message = `the path ${socketPath} is too long for a socket; choose a data directory with a shorter path`;
    throw new CodedError('redis.path-too-long', 'invalid', message, { socketPath });
  }
  const flags = {
    port: '0',
    unixsocket: socketPath,
    unixsocketperm: '700',
    dir,
    appendonly: 'yes',
    save: '',
    'maxmemory-policy': 'noeviction',
    daemonize: 'no',
    // Its command line and environment stay as they were started: that is how a leftover is recognised.
    'set-proc-title': 'no',
  };
  const spec = {
    name: 'redis',
    command: SERVER,
    args: Object.entries(flags).flatMap(([name, value]) => [`--${name}`, value]),
    env: { LC_ALL: 'C.UTF-8', PATH: '/usr/sbin:/usr/bin:/sbin:/bin', ...options.env },
    logFile: options.logFile ?? join(dir, 'redis.log'),
    readiness: () => answersPing(socketPath),
  };
  const { clock = new SystemClock(), logger = new SilentLogger(), signal } = options;
  const process = await SupervisedProcess.start(spec, clock, logger, signal);
  return { url: `unix://${socketPath}`, socketPath, process, stop: () => process.stop() };
}

function assertInstalled(): void {
  try {
    accessSync(SERVER, constants.X_OK);
  } catch (cause) {
    const message = `Redis is not installed (${SERVER}): install the package redis-server, or set REDIS_URL to a server of your own`;
    throw new CodedError('redis.missing', 'unavailable', message, {}, cause);
  }
}

/** True once it answers `+PONG`: while it loads its data it answers with an error instead. */
function answersPing(socketPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(socketPath);
    socket.setTimeout(1000, () => socket.destroy());
    socket.once('connect', () => socket.write('PING\r\n'));
    socket.once('data', (answer) => {
      resolve(answer.toString().startsWith('+PONG'));
      socket.destroy();
    });
    socket.once('error', () => resolve(false));
    socket.once('close', () => resolve(false));
  });
}
