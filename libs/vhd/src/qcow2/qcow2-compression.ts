import { promisify } from 'node:util';
import { inflateRaw, zstdDecompress } from 'node:zlib';
import { qcow2Error, type Compression } from './qcow2-layout.js';

const inflate = promisify(inflateRaw);
const unzstd = promisify(zstdDecompress);

/**
 * A cluster out of its packed bytes, behind which others' may follow: only whole sectors tell how long they are. `qcow2.cluster-broken` where they
 * do not make exactly one cluster.
 */
export async function unpackCluster(packed: Buffer, compression: Compression, clusterBytes: number): Promise<Buffer> {
  const broken = (error?: unknown) =>
    qcow2Error('cluster-broken', 'a compressed cluster of the qcow2 cannot be unpacked', { cause: String(error) });
  let bytes: Buffer;
  try {
    bytes = compression === 'zlib' ? await inflate(packed, { maxOutputLength: clusterBytes }) : await unpackZstd(packed, clusterBytes);
  } catch (error) {
    throw broken(error);
  }
  if (bytes.byteLength !== clusterBytes) throw broken();
  return bytes;
}

async function unpackZstd(packed: Buffer, clusterBytes: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  let rest = packed;
  for (let done = 0; done < clusterBytes;) {
    const length = zstdFrameBytes(rest);
    const part = await unzstd(rest.subarray(0, length), { maxOutputLength: clusterBytes - done });
    if (part.byteLength === 0) break;
    parts.push(part);
    done += part.byteLength;
    rest = rest.subarray(length);
  }
  return Buffer.concat(parts);
}

const ZSTD_MAGIC = 0xfd2f_b528;
const DICTIONARY_ID_BYTES = [0, 1, 2, 4] as const;
const CONTENT_SIZE_BYTES = [0, 2, 4, 8] as const;

/** How long the frame at the beginning is (RFC 8878, 3.1.1); the decompressor takes no bytes behind it. Throws RangeError where there is none. */
export function zstdFrameBytes(bytes: Buffer): number {
  if (bytes.readUInt32LE(0) !== ZSTD_MAGIC) throw new RangeError('no zstd frame');
  const descriptor = bytes.readUInt8(4);
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const contentSizeFlag = descriptor >> 6;
  const contentSizeBytes = contentSizeFlag === 0 && isSingleSegment ? 1 : CONTENT_SIZE_BYTES[contentSizeFlag]!;
  let at = 5 + (isSingleSegment ? 0 : 1) + DICTIONARY_ID_BYTES[descriptor & 3]! + contentSizeBytes;
  for (let isLast = false; !isLast;) {
    const block = bytes.readUIntLE(at, 3);
    isLast = (block & 1) !== 0;
    const isRepeatedByte = ((block >> 1) & 3) === 1;
    at += 3 + (isRepeatedByte ? 1 : block >> 3);
  }
  return at + ((descriptor & 4) !== 0 ? 4 : 0);
}
