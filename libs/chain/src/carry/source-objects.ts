import { PlatformError } from '#libs/kernel';
import type { ObjectStore } from '#libs/object-store';
import type { ChainAddress } from '../catalogue/replica-catalogue.js';
import { decodeWrappedKey } from '../keys/wrapped-key.js';
import type { ChainLedger, ChainReading } from '../maintenance/chain-ledger.js';
import { keptBuckets } from '../maintenance/kept-buckets.js';
import { maintenanceErrors } from '../maintenance/maintenance-errors.js';
import { decodeFence } from '../manifest/fence.js';
import type { ManifestRef } from '../manifest/manifest.js';
import { ObjectNames } from '../object-names.js';
import { decodeRelationshipRecord } from '../rebuild/relationship-record.js';
import { sha256Hex } from '../sha256.js';
import { copyDamaged, sourceDamaged } from './carry-errors.js';

interface Source {
  readonly ledger: Pick<ChainLedger, 'read'>;
  readonly store: ObjectStore;
  readonly address: ChainAddress;
  readonly signal: AbortSignal;
}

/** What a chain's own store holds, by names below its prefix: right, or told to be damaged here. */
export class SourceObjects {
  readonly #names: ObjectNames;

  constructor(
    private readonly source: Source,
    private readonly reading: ChainReading,
  ) {
    this.#names = new ObjectNames(source.address.tenantId, source.address.chainId);
  }

  /** `layer`: the cycle that needs it, where it may be collected meanwhile with it. `carry.source-damaged`, `maintenance.conflict`. */
  async fetch(name: string, sha256: string | null, layer: bigint | null): Promise<Buffer> {
    const { store, signal } = this.source;
    signal.throwIfAborted();
    let bytes: Buffer;
    try {
      bytes = await store.get(this.#names.prefix + name, undefined, signal);
    } catch (error) {
      if (error instanceof PlatformError && error.kind === 'not-found') throw await this.#missing(name, layer, error);
      throw error;
    }
    if (sha256 !== null && sha256Hex(bytes) !== sha256) throw sourceDamaged(name);
    return bytes;
  }

  /** Collected meanwhile, or lost. */
  async #missing(name: string, layer: bigint | null, cause: Error): Promise<PlatformError> {
    const { revision, snapshot } = this.reading;
    const now = await this.source.ledger.read(this.source.address);
    const isNeeded = layer === null || neededOf(now).some(({ cycle }) => cycle === layer);
    const isSame = now.revision === revision && now.snapshot?.sequence === snapshot?.sequence && isNeeded;
    return isSame ? sourceDamaged(name, cause) : maintenanceErrors.conflict('what was to be carried was replaced');
  }

  /** Null when the source has it no more, as what nothing needs is collected. */
  async fetchStanding(name: string, sha256: string | null): Promise<Buffer | null> {
    try {
      return await this.fetch(name, sha256, null);
    } catch (error) {
      if ((await this.source.store.head(this.#names.prefix + name)) === null) return null;
      throw error;
    }
  }

  /** Of what is there in two sizes the source's must be right; then the third site's is not. */
  async requireSound(name: string): Promise<void> {
    const [place, hash] = [name.slice(0, 2), name.slice(-64)];
    if (place === 'm/') {
      const ref = neededOf(this.reading).find((each) => this.#names.manifest(each) === this.#names.prefix + name);
      // Nothing needs it any more.
      if (ref === undefined || (await this.fetchStanding(name, ref.sha256)) === null) return;
    } else if (place === 'l/' || place === 'v/') {
      if ((await this.fetchStanding(name, hash)) === null) return;
    } else if (place !== 's/') {
      const bytes = await this.fetchStanding(name, null);
      if (bytes === null) return;
      const { address } = this.source;
      try {
        if (place === 'f/') decodeFence(bytes, address);
        else if (place === 'k/') decodeWrappedKey(bytes, address);
        else decodeRelationshipRecord(bytes, address);
      } catch (error) {
        throw sourceDamaged(name, error);
      }
    }
    throw copyDamaged(name);
  }
}

/** The manifests that kept positions lead to, by cycle: parents first. */
export function neededOf({ lineage, kept }: ChainReading): ManifestRef[] {
  const layers = new Map(keptBuckets(lineage, kept).flatMap(({ layers: some }) => some.map((ref) => [ref.cycle, ref] as const)));
  return [...layers.values()].sort((a, b) => (a.cycle < b.cycle ? -1 : 1));
}
