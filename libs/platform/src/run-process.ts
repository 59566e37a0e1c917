import { CodedError, type Logger, messageOf, PlatformError, SECOND_MS } from '#libs/kernel';
import { announceFailure, announceReady, exitWithParent } from '#libs/supervisor';

export interface RunningProcess {
  /** What the supervisor is told, such as the URL. */
  readonly details?: Readonly<Record<string, unknown>>;
  /** Finishes what is in hand and lets go of everything. */
  stop(): Promise<void>;
}

const STOP_GRACE_MS = 60 * SECOND_MS;

/**
 * The life of a process: starts it, tells its supervisor, and stops it in order on SIGTERM or SIGINT; a second signal
 * ends it at once. A start that fails is one clear sentence and exit code 1; a stack only for what nobody expected.
 */
export async function runProcess(logger: Logger, start: () => Promise<RunningProcess>): Promise<void> {
  exitWithParent();
  let running: RunningProcess;
  try {
    refuseOldNode();
    running = await start();
  } catch (error) {
    fail(logger, error);
  }
  logger.info({ ...running.details }, 'ready');
  announceReady(running.details);
  let isStopping = false;
  const stop = (signal: string): void => {
    if (isStopping) process.exit(1);
    isStopping = true;
    logger.info({ signal }, 'stopping');
    setTimeout(() => process.exit(1), STOP_GRACE_MS).unref();
    running.stop().then(
      () => process.exit(0),
      (error: unknown) => {
        logger.error({ error }, 'did not stop in order');
        process.exit(1);
      },
    );
  };
  process.on('SIGTERM', stop);
  process.on('SIGINT', stop);
}

/** The life of a process that does one thing and ends: exit code 0, or one clear sentence and 1. */
export async function runToEnd(logger: Logger, work: () => Promise<void>): Promise<void> {
  exitWithParent();
  try {
    refuseOldNode();
    await work();
  } catch (error) {
    fail(logger, error);
  }
  process.exit(0);
}

function fail(logger: Logger, error: unknown): never {
  if (error instanceof PlatformError) logger.error({ code: error.code, details: error.details }, error.message);
  else logger.error({ error }, `cannot go on: ${messageOf(error)}`);
  announceFailure(error);
  process.exit(1);
}

function refuseOldNode(): void {
  const major = Number(process.versions.node.split('.')[0]);
  if (major < 24)
    throw new CodedError(
      'process.node-too-old',
      'invalid',
      `Node.js 24 is needed; this is ${process.versions.node}. Start it through npm, which brings its own.`,
    );
}
