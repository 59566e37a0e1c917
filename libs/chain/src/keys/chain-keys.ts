import { createSecretKey, hkdfSync, type KeyObject } from 'node:crypto';
import { assert, CodedError, idToBytes, type ChainId } from '#libs/kernel';
import { KEY_BYTES } from '../limits.js';

export interface ChainKeyMaterial {
  readonly chainId: ChainId;
  /** 32 bytes; one for the chain's whole life. */
  readonly fingerprintKey: Uint8Array;
  /** 32 bytes by generation (1 … 65535). */
  readonly dataKeys: ReadonlyMap<number, Uint8Array>;
}

const RECORD_KEYS_CACHED_MAX = 4096;

/** The opened keys of one chain, and what is derived from them. Lives only in agents and in processes that read points. */
export class ChainKeys {
  readonly chainId: ChainId;
  readonly fingerprintKey: Buffer;
  /** The 16 bytes of the chain id. */
  readonly chainBytes: Buffer;
  readonly #dataKeys = new Map<number, Buffer>();
  readonly #recordKeys = new Map<string, KeyObject>();

  constructor(material: ChainKeyMaterial) {
    this.chainId = material.chainId;
    this.chainBytes = idToBytes(material.chainId);
    this.fingerprintKey = copyKey(material.fingerprintKey);
    for (const [generation, key] of material.dataKeys) {
      assert(Number.isInteger(generation) && generation >= 1 && generation <= 0xffff, 'a key generation is 1 … 65535');
      this.#dataKeys.set(generation, copyKey(key));
    }
  }

  get generations(): number[] {
    return [...this.#dataKeys.keys()].sort((a, b) => a - b);
  }

  /** The data key itself, for a segment builder. `keys.generation-missing` when this holder was not given it. */
  dataKey(generation: number): Buffer {
    const key = this.#dataKeys.get(generation);
    if (key === undefined)
      throw new CodedError('keys.generation-missing', 'forbidden', `the key of generation ${generation} is not at hand`, { generation });
    return key;
  }

  /** What the records of one builder are sealed with. */
  recordKey(generation: number, salt: Uint8Array): KeyObject {
    const name = `${generation}:${Buffer.from(salt.buffer, salt.byteOffset, salt.length).toString('latin1')}`;
    let key = this.#recordKeys.get(name);
    if (key === undefined) {
      key = deriveKey(this.dataKey(generation), salt, 'record', this.chainBytes);
      if (this.#recordKeys.size >= RECORD_KEYS_CACHED_MAX) this.#recordKeys.delete(this.#recordKeys.keys().next().value!);
      this.#recordKeys.set(name, key);
    }
    return key;
  }

  /** What a manifest of that generation is authenticated with. */
  manifestKey(generation: number): KeyObject {
    return deriveKey(this.dataKey(generation), Buffer.alloc(0), 'manifest', this.chainBytes);
  }
}

/** HKDF-SHA256(`dataKey`, `salt`, info = `label` ‖ chain id), 32 bytes. */
export function deriveKey(dataKey: Uint8Array, salt: Uint8Array, label: 'record' | 'manifest', chainBytes: Uint8Array): KeyObject {
  const info = Buffer.concat([Buffer.from(label, 'ascii'), chainBytes]);
  return createSecretKey(Buffer.from(hkdfSync('sha256', dataKey, salt, info, KEY_BYTES)));
}

function copyKey(key: Uint8Array): Buffer {
  assert(key.length === KEY_BYTES, `a key has ${KEY_BYTES} bytes`);
  return Buffer.from(key);
}
