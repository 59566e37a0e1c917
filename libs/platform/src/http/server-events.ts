import type { FastifyReply, FastifyRequest } from 'fastify';

export interface ServerEvent {
  readonly event: string;
  readonly data: unknown;
  readonly id?: string;
}

const HEARTBEAT_MS = 15_000;

/**
 * Answers with server-sent events until the client leaves, the source ends or `stopping` is aborted. The source gets a
 * signal for all three. Back-pressure: a client that does not read makes the source wait. Use with `@Res()`.
 */
export async function sendServerEvents(
  request: FastifyRequest,
  reply: FastifyReply,
  stopping: AbortSignal,
  source: (signal: AbortSignal) => AsyncIterable<ServerEvent>,
): Promise<void> {
  const gone = new AbortController();
  request.raw.once('close', () => gone.abort(new Error('the client left')));
  const signal = AbortSignal.any([gone.signal, stopping]);
  const headers = {
    ...reply.getHeaders(),
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-store',
    'x-accel-buffering': 'no',
  };
  reply.hijack();
  const { raw } = reply;
  raw.writeHead(200, headers as Record<string, string>);
  raw.write(': hello\n\n');
  const heartbeat = setInterval(() => raw.write(': still here\n\n'), HEARTBEAT_MS);
  try {
    for await (const { event, data, id } of source(signal)) {
      if (signal.aborted) break;
      const lines = `${id === undefined ? '' : `id: ${id}\n`}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
      if (!raw.write(lines)) await drained(raw, signal);
    }
  } catch (error) {
    if (!signal.aborted) raw.write(`event: error\ndata: {}\n\n`);
    if (!signal.aborted) throw error;
  } finally {
    clearInterval(heartbeat);
    raw.end();
  }
}

function drained(raw: FastifyReply['raw'], signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      raw.off('drain', done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    raw.once('drain', done);
    signal.addEventListener('abort', done, { once: true });
  });
}
