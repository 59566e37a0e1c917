/**
 * Gives the memory of a large temporary buffer back at once: a collection, which its size does little to hasten, comes much later. Nobody may look at
 * the bytes again.
 */
export function discard(bytes: Uint8Array): void {
  // Small buffers share a slab with others.
  if (bytes.buffer.byteLength > Buffer.poolSize) (bytes.buffer as ArrayBuffer).transfer(0);
}
