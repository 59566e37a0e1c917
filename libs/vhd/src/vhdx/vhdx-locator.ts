import { displayText } from '../source/display-text.js';
import { PARENT_LOCATOR_TYPE, readGuid, vhdxError } from './vhdx-layout.js';

export interface VhdxParentLocator {
  /** The parent has one of these. */
  readonly dataWriteIds: readonly string[];
  /** Only to be shown. */
  readonly paths: readonly string[];
}

const PAIRS_MAX = 64;
const GUID = /^\{([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\}$/i;
const LINKAGES: readonly string[] = ['parent_linkage', 'parent_linkage2'];
const PATHS: readonly string[] = ['relative_path', 'volume_path', 'absolute_win32_path'];

/** The metadata item of a differencing VHDX ([MS-VHDX] 2.6.2.6). `vhdx.metadata-broken`, `vhdx.unsupported`. */
export function parseParentLocator(bytes: Buffer): VhdxParentLocator {
  if (bytes.byteLength < 20) throw broken();
  if (readGuid(bytes, 0) !== PARENT_LOCATOR_TYPE) throw vhdxError('unsupported', 'the parent of the VHDX is of a kind that is not known');
  const count = bytes.readUInt16LE(18);
  if (count > PAIRS_MAX || 20 + 12 * count > bytes.byteLength) throw broken();
  const values = new Map<string, string>();
  for (let at = 20; at < 20 + 12 * count; at += 12) {
    const key = textAt(bytes, bytes.readUInt32LE(at), bytes.readUInt16LE(at + 8));
    if (values.has(key)) throw broken();
    values.set(key, textAt(bytes, bytes.readUInt32LE(at + 4), bytes.readUInt16LE(at + 10)));
  }
  const dataWriteIds = LINKAGES.flatMap((key) => {
    const id = GUID.exec(values.get(key) ?? '')?.[1];
    return id === undefined ? [] : [id.toLowerCase()];
  });
  if (dataWriteIds.length === 0) throw broken();
  return { dataWriteIds, paths: PATHS.flatMap((key) => (values.has(key) ? [displayText(values.get(key)!)] : [])) };
}

function textAt(bytes: Buffer, offset: number, length: number): string {
  if (length === 0 || length % 2 !== 0 || offset + length > bytes.byteLength) throw broken();
  return bytes.toString('utf16le', offset, offset + length);
}

function broken() {
  return vhdxError('metadata-broken', 'the VHDX does not say by what it knows its parent');
}
