/** Places of records in a segment as bits, the first record as the lowest bit of the first byte. */
export function toBits(indexes: Iterable<number>, recordCount: number): Buffer {
  const bits = Buffer.alloc(Math.ceil(recordCount / 8));
  for (const index of indexes) bits[index >> 3]! |= 1 << (index & 7);
  return bits;
}

/** What {@link toBits} wrote; null when it was written for another number of records. */
export function fromBits(bits: Uint8Array, recordCount: number): number[] | null {
  if (bits.length !== Math.ceil(recordCount / 8)) return null;
  const indexes: number[] = [];
  for (let index = 0; index < bits.length * 8; index += 1) if ((bits[index >> 3]! >> (index & 7)) & 1) indexes.push(index);
  return (indexes.at(-1) ?? 0) < recordCount ? indexes : null;
}
