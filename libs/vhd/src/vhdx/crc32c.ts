const POLYNOMIAL = 0x82f6_3b78;

/** Eight tables, so that eight bytes are taken at a time: log replay and region tables are read in bulk. */
const TABLES = makeTables();

/** CRC-32C (Castagnoli) of `bytes`, with the four bytes at `zeroedOffset` taken as zero: where a structure keeps its own checksum. */
export function crc32c(bytes: Uint8Array, zeroedOffset?: number): number {
  if (zeroedOffset === undefined) return ~update(~0, bytes) >>> 0;
  let crc = update(~0, bytes.subarray(0, zeroedOffset));
  crc = update(crc, new Uint8Array(4));
  return ~update(crc, bytes.subarray(zeroedOffset + 4)) >>> 0;
}

function update(from: number, bytes: Uint8Array): number {
  const [t0, t1, t2, t3, t4, t5, t6, t7] = TABLES;
  let crc = from;
  let at = 0;
  for (const end = bytes.byteLength - 7; at < end; at += 8) {
    crc ^= bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    crc =
      t7[crc & 0xff]! ^
      t6[(crc >>> 8) & 0xff]! ^
      t5[(crc >>> 16) & 0xff]! ^
      t4[crc >>> 24]! ^
      t3[bytes[at + 4]!]! ^
      t2[bytes[at + 5]!]! ^
      t1[bytes[at + 6]!]! ^
      t0[bytes[at + 7]!]!;
  }
  for (; at < bytes.byteLength; at += 1) crc = t0[(crc ^ bytes[at]!) & 0xff]! ^ (crc >>> 8);
  return crc;
}

type Tables = readonly [Int32Array, Int32Array, Int32Array, Int32Array, Int32Array, Int32Array, Int32Array, Int32Array];

function makeTables(): Tables {
  const tables = Array.from({ length: 8 }, () => new Int32Array(256));
  for (let byte = 0; byte < 256; byte += 1) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1;
    tables[0]![byte] = crc;
  }
  for (let byte = 0; byte < 256; byte += 1) {
    for (let table = 1; table < 8; table += 1) {
      const before = tables[table - 1]![byte]!;
      tables[table]![byte] = (before >>> 8) ^ tables[0]![before & 0xff]!;
    }
  }
  return tables as unknown as Tables;
}
