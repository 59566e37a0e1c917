import { parentPort } from 'node:worker_threads';
import { asId, assert, messageOf, type ChainId } from '#libs/kernel';
import { BLOCK_BYTES, FULL_MASK, SegmentBuilder, type BuiltSegment } from '#libs/chain';
import type { SealAnswer, SealRequest, SegmentSeal } from './segment-pool.js';
import { bytesToRead } from './stripes.js';

/**
 * A thread that packs one stripe at a time: blocks come in ascending batches, full segments go back. Whole blocks that turn out to be
 * zero become zero runs, joined with their neighbours.
 */
class StripePacker {
  readonly #finished: BuiltSegment[] = [];
  #builder: SegmentBuilder | null = null;
  #zeros = { disk: -1, block: 0, count: 0 };
  #spare: ArrayBuffer | null = null;

  constructor(private readonly seal: SegmentSeal) {}

  pack({ pieces, data, spare }: SealRequest): void {
    this.#spare = spare;
    let offset = 0;
    for (const piece of pieces) {
      const plaintext = data.subarray(offset, offset + bytesToRead(piece));
      offset += plaintext.length;
      if (piece.kind === 'zero') this.#addZeros(piece.disk, piece.block, piece.count);
      else if (piece.mask === FULL_MASK && ZERO_BLOCK.equals(plaintext)) this.#addZeros(piece.disk, piece.block, 1);
      else {
        this.#flushZeros();
        this.#open().add(piece.disk, piece.block, piece.mask, plaintext);
      }
    }
    assert(offset === data.length, 'a batch holds exactly the bytes of its pieces');
  }

  /** The segments finished since the last ask; with `isLast` also the one begun. */
  take(isLast: boolean): BuiltSegment[] {
    if (isLast) {
      this.#flushZeros();
      if (this.#builder?.isEmpty === false) this.#finished.push(this.#builder.finish());
      this.#builder = null;
    }
    return this.#finished.splice(0);
  }

  /** The memory that came with the batch, if no segment was begun in it. */
  takeSpare(): ArrayBuffer | null {
    const spare = this.#spare;
    this.#spare = null;
    return spare;
  }

  #addZeros(disk: number, block: number, count: number): void {
    if (this.#zeros.disk === disk && this.#zeros.block + this.#zeros.count === block) {
      this.#zeros.count += count;
      return;
    }
    this.#flushZeros();
    this.#zeros = { disk, block, count };
  }

  #flushZeros(): void {
    const { disk, block, count } = this.#zeros;
    this.#zeros = { disk: -1, block: 0, count: 0 };
    if (count > 0) this.#open().addZeroRun(disk, block, count);
  }

  #open(): SegmentBuilder {
    if (this.#builder?.isFull === true) {
      this.#finished.push(this.#builder.finish());
      this.#builder = null;
    }
    const { chainId, cycle, generation, dataKey, fingerprintKey } = this.seal;
    if (this.#builder === null) {
      const memory = this.takeSpare() ?? undefined;
      this.#builder = new SegmentBuilder({ chainId: asId<ChainId>(chainId), cycle, generation, dataKey, fingerprintKey, memory });
    }
    return this.#builder;
  }
}

const ZERO_BLOCK = Buffer.alloc(BLOCK_BYTES);

const port = parentPort;
assert(port !== null, 'this file runs as a worker');
let packer: StripePacker | null = null;

port.on('message', (request: SealRequest) => {
  const buffer = request.data.buffer as ArrayBuffer;
  let answer: SealAnswer;
  try {
    if (request.begin !== null) packer = new StripePacker(request.begin);
    assert(packer !== null, 'a stripe begins with its keys');
    packer.pack(request);
    answer = { segments: packer.take(request.isLast), error: null, buffer, spare: packer.takeSpare() };
    if (request.isLast) packer = null;
  } catch (error) {
    packer = null;
    answer = { segments: [], error: messageOf(error), buffer, spare: null };
  }
  const given = [buffer, answer.spare, ...answer.segments.map(({ bytes }) => bytes.buffer as ArrayBuffer)];
  port.postMessage(
    answer,
    given.filter((memory) => memory !== null),
  );
});
