import { createWriteStream } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { MIB } from '#libs/kernel';
import { RandomBytes } from './random-bytes.js';

const PAGE_BYTES = 8192;
const PAGE_HEADER_BYTES = 24;
const CHUNK_PAGES = 128;
const FIRST_NAMES = ['Ada', 'Grace', 'Linus', 'Edsger', 'Barbara', 'Donald', 'Frances', 'Alan', 'Radia', 'Tony', 'Margaret', 'Dennis'];
const CITIES = ['Rotterdam', 'Porto', 'Lyon', 'Graz', 'Tartu', 'Malmö', 'Cork', 'Gdańsk', 'Bologna', 'Zaragoza', 'Brno', 'Ghent'];
const STATES = ['open', 'paid', 'shipped', 'returned', 'cancelled'];
const PATHS = ['/', '/login', '/cart', '/api/v1/orders', '/api/v1/items', '/static/app.js', '/static/site.css', '/search', '/healthz'];
const AGENTS = ['Mozilla/5.0 (X11; Linux x86_64)', 'Mozilla/5.0 (Windows NT 10.0; Win64; x64)', 'curl/8.5.0', 'okhttp/4.12.0'];
const LEVELS = ['INFO', 'INFO', 'INFO', 'INFO', 'DEBUG', 'WARN', 'ERROR'];

/** Pages of rows as a database's heap holds them: headers, keys, small words, some digests, free room. */
export async function writeHeap(path: string, sizeBytes: number): Promise<void> {
  const random = new RandomBytes(path.slice(path.lastIndexOf('/') + 1));
  let key = 1;
  const page = (): Buffer => {
    const bytes = Buffer.alloc(PAGE_BYTES);
    random.take(8).copy(bytes, 0);
    let at = PAGE_HEADER_BYTES;
    let end = PAGE_BYTES;
    // Some pages are only half full, as after deletes.
    const room = random.below(8) === 0 ? PAGE_BYTES / 2 : PAGE_BYTES - 200;
    while (at + (PAGE_BYTES - end) < room) {
      const row = heapRow(random, key);
      key += 1;
      end -= row.length;
      row.copy(bytes, end);
      bytes.writeUInt16LE(end, at);
      bytes.writeUInt16LE(row.length, at + 2);
      at += 4;
    }
    return bytes;
  };
  await writeChunks(path, sizeBytes, () => Buffer.concat(Array.from({ length: CHUNK_PAGES }, page)));
}

function heapRow(random: RandomBytes, key: number): Buffer {
  const fixed = Buffer.alloc(44);
  fixed.writeUInt32LE(Math.floor(key / 7), 0);
  fixed.writeUInt16LE(0x0902, 18);
  fixed.writeUInt32LE(key, 24);
  fixed.writeBigUInt64LE(BigInt(757_382_400_000_000 + key * 1_371_003 + random.below(1_000_000)), 28);
  fixed.writeUInt32LE(random.below(100_000), 36);
  const name = `${random.pick(FIRST_NAMES)}.${random.below(99_999)}@${random.pick(['example.org', 'example.net', 'contoso.example'])}`;
  const text = `${name}\0${random.pick(CITIES)}\0${random.pick(STATES)}\0`;
  return Buffer.concat([fixed, Buffer.from(text), random.take(random.below(4) === 0 ? 32 : 8)]);
}

/** Lines of a web server and of an application. */
export async function writeLog(path: string, sizeBytes: number): Promise<void> {
  const random = new RandomBytes(path.slice(path.lastIndexOf('/') + 1));
  let atMs = Date.UTC(2026, 0, 1);
  const line = (): string => {
    atMs += random.below(400);
    const at = new Date(atMs).toISOString();
    const address = `10.${random.below(4)}.${random.below(256)}.${random.below(256)}`;
    if (random.below(3) > 0) {
      const status = random.pick([200, 200, 200, 200, 304, 404, 500]);
      return `${address} - - [${at}] "GET ${random.pick(PATHS)}?id=${random.below(1e6)} HTTP/1.1" ${status} ${random.below(60_000)} "${random.pick(AGENTS)}"`;
    }
    return `${at} ${random.pick(LEVELS)} worker-${random.below(16)} request=${random.take(8).toString('hex')} took ${random.below(2000)} ms`;
  };
  await writeChunks(path, sizeBytes, () => Buffer.from(`${Array.from({ length: 8192 }, line).join('\n')}\n`));
}

/** What is compressed or encrypted already. */
export async function writeNoise(path: string, sizeBytes: number): Promise<void> {
  const random = new RandomBytes(path.slice(path.lastIndexOf('/') + 1));
  await writeChunks(path, sizeBytes, () => random.take(MIB));
}

async function writeChunks(path: string, sizeBytes: number, chunk: () => Buffer): Promise<void> {
  const chunks = function* (): Iterable<Buffer> {
    for (let left = sizeBytes; left > 0;) {
      const next = chunk().subarray(0, left);
      left -= next.length;
      yield next;
    }
  };
  await pipeline(Readable.from(chunks(), { objectMode: true, highWaterMark: 4 }), createWriteStream(path));
}
