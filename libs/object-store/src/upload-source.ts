import { Readable } from 'node:stream';

/**
 * A body on its way to an HTTP client that does not watch its source: a client that pipes would wait for its time-out when the source
 * fails. Here the failure ends the request through `signal`, and is kept, since the client would only say that it was aborted.
 */
export class UploadSource {
  readonly stream: Readable;
  readonly signal: AbortSignal;
  failure: unknown;

  constructor(pieces: AsyncIterable<Uint8Array>, callerSignal?: AbortSignal) {
    const broken = new AbortController();
    this.signal = callerSignal === undefined ? broken.signal : AbortSignal.any([callerSignal, broken.signal]);
    this.stream = Readable.from(pieces, { objectMode: false });
    this.stream.on('error', (error) => {
      this.failure ??= error;
      broken.abort();
    });
  }
}
