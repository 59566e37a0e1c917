import type { ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { KIB, SECOND_MS } from '#libs/kernel';

/** An answer may take as long as it likes, but in no window of its reader's own making may fewer bytes go out than this. */
export interface DownloadRate {
  readonly bytesPerSecond: number;
  readonly windowMs: number;
}

export const DOWNLOAD_RATE: DownloadRate = { bytesPerSecond: 64 * KIB, windowMs: 30 * SECOND_MS };

/**
 * The bytes of an answer for {@link FastifyReply.send}, held to a minimum rate: whoever takes them more slowly than that, or stops taking them, loses the
 * connection, and what is read for it ends at once. Only the time that the reader lets us wait counts, not what the source takes.
 */
export function pacedAnswer(
  reply: { readonly raw: ServerResponse },
  bytes: AsyncIterable<Uint8Array>,
  rate: DownloadRate = DOWNLOAD_RATE,
): Readable {
  return Readable.from(paced(reply.raw, bytes, rate), { objectMode: false });
}

async function* paced(response: ServerResponse, bytes: AsyncIterable<Uint8Array>, { bytesPerSecond, windowMs }: DownloadRate) {
  const dueBytes = (bytesPerSecond * windowMs) / SECOND_MS;
  let [waitedMs, sentBytes] = [0, 0];
  let timer: NodeJS.Timeout | undefined;
  try {
    for await (const chunk of bytes) {
      const waitingSinceMs = performance.now();
      timer = setTimeout(() => response.destroy(), Math.max(1, windowMs - waitedMs));
      yield chunk;
      clearTimeout(timer);
      waitedMs += performance.now() - waitingSinceMs;
      sentBytes += chunk.length;
      if (sentBytes >= dueBytes) [waitedMs, sentBytes] = [0, 0];
      else if (waitedMs >= windowMs) response.destroy();
    }
    endInTime(response, windowMs);
  } finally {
    clearTimeout(timer);
  }
}

/** What was taken off the source waits in the connection's own buffers until its reader has it: a last window for that. */
function endInTime(response: ServerResponse, windowMs: number): void {
  if (response.closed) return;
  const timer = setTimeout(() => response.destroy(), windowMs);
  response.once('close', () => clearTimeout(timer));
}
