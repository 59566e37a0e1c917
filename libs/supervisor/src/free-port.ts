import { createServer } from 'node:net';
import { CodedError } from '#libs/kernel';

/** A TCP port that nobody listens on just now. The caller must be ready to lose the race for it. */
export function freePort(host = '127.0.0.1'): Promise<number> {
  return bind(host, 0);
}

/** Throws `listen.port-taken` when somebody listens there already, else `listen.refused`, each with a sentence for people. */
export async function assertPortFree(port: number, host: string, whatFor: string): Promise<void> {
  try {
    await bind(host, port);
  } catch (cause) {
    const reason = (cause as NodeJS.ErrnoException).code;
    const what = `port ${port} for the ${whatFor} cannot be used`;
    if (reason === 'EADDRINUSE')
      throw new CodedError('listen.port-taken', 'conflict', `${what}: another program listens on it`, { port }, cause);
    const why = reason === 'EACCES' ? 'this user may not listen on it' : `${reason}`;
    throw new CodedError('listen.refused', 'invalid', `${what}: ${why}`, { port }, cause);
  }
}

export async function isPortFree(port: number, host = '127.0.0.1'): Promise<boolean> {
  return bind(host, port).then(
    () => true,
    () => false,
  );
}

function bind(host: string, wanted: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(wanted, host, () => {
      const address = server.address();
      const port = typeof address === 'object' && address !== null ? address.port : wanted;
      server.close(() => resolve(port));
    });
  });
}
