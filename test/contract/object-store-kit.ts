import type { ObjectStore } from '#libs/object-store';

export async function* pieces(bytes: Uint8Array, pieceBytes: number): AsyncIterable<Uint8Array> {
  for (let offset = 0; offset < bytes.byteLength; offset += pieceBytes) yield bytes.subarray(offset, offset + pieceBytes);
}

export async function* breaking(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  yield bytes.subarray(0, 100_000);
  yield bytes.subarray(100_000, 200_000);
  throw new Error('the sender is gone');
}

/** A body that is a stream cannot be sent again by the store: whoever made it repeats the put. */
export async function again<T>(work: () => Promise<T>): Promise<T> {
  return work().catch((error: { code?: string }) => {
    if (error.code === 'object.store-unavailable') return work();
    throw error;
  });
}

export async function readStream(store: ObjectStore, key: string, range?: { offset: number; length: number }): Promise<Buffer> {
  return collect(await store.stream(key, range));
}

export async function collect(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const found: Uint8Array[] = [];
  for await (const piece of stream) found.push(piece);
  return Buffer.concat(found);
}

export async function list(store: ObjectStore, prefix: string): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list(prefix)) keys.push(key);
  return keys;
}
