import type { Socket } from 'node:net';
import { CodedError } from '#libs/kernel';

/**
 * Takes exact numbers of bytes from a socket. What nobody asked for stays unread, so a fast peer is held back by the
 * kernel's buffers. One `read` at a time. After the end, an error or `destroy` every read rejects with `nbd.closed`.
 */
export class SocketReader {
  #wake: (() => void) | null = null;
  #ended = false;
  #cause: unknown;

  constructor(private readonly socket: Socket) {
    const wake = (): void => this.#wake?.();
    const end = (): void => {
      this.#ended = true;
      wake();
    };
    socket.on('readable', wake);
    socket.on('end', end);
    socket.on('close', end);
    socket.on('error', (error) => {
      this.#cause = error;
      end();
    });
  }

  async read(length: number): Promise<Buffer> {
    if (length === 0) return Buffer.alloc(0);
    for (;;) {
      const bytes = this.socket.read(length) as Buffer | null;
      if (bytes?.length === length) return bytes;
      if (bytes !== null) throw this.#closed();
      await this.#more();
    }
  }

  /** Fills `target` piece by piece as the bytes come, with no other memory of its size. */
  async readInto(target: Uint8Array): Promise<void> {
    for (let at = 0; at < target.length;) {
      const bytes = this.socket.read(Math.min(this.socket.readableLength, target.length - at)) as Buffer | null;
      if (bytes === null) await this.#more();
      else {
        target.set(bytes, at);
        at += bytes.length;
        // A whole chunk is nobody else's: its memory goes back now, not at some later collection.
        if (bytes.length === bytes.buffer.byteLength) (bytes.buffer as ArrayBuffer).transfer(0);
      }
    }
  }

  async #more(): Promise<void> {
    if (this.#ended) throw this.#closed();
    await new Promise<void>((resolve) => (this.#wake = resolve));
    this.#wake = null;
  }

  #closed(): CodedError {
    return new CodedError('nbd.closed', 'unavailable', 'the NBD peer closed the connection', {}, this.#cause);
  }
}
