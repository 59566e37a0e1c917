import type { Clock } from '#libs/kernel';
import type { ChainAddress } from '../catalogue/replica-catalogue.js';
import { ScrubLedger, type Damage, type DueVerification, type Verification } from './scrub-ledger.js';
import { unpinnedKindOf } from './unpinned-objects.js';

interface Rows {
  readonly verified: Map<string, { atMs: number; sha256: string | null }>;
  readonly damages: Map<string, Damage>;
}

/** For simulations and tests. */
export class MemoryScrubLedger extends ScrubLedger {
  readonly #chains = new Map<string, Rows>();

  constructor(
    private readonly clock: Clock,
    private readonly keys: readonly string[] = [],
  ) {
    super();
  }

  async unpinned(address: ChainAddress): Promise<string[]> {
    const found = [...this.#rows(address).verified].filter(([name, { sha256 }]) => sha256 !== null && unpinnedKindOf(name) !== 'key');
    return [...this.keys, ...found.map(([name]) => name)];
  }

  async due(
    address: ChainAddress,
    names: readonly string[],
    { everyMs, limit }: { readonly everyMs: number; readonly limit: number },
  ): Promise<DueVerification[]> {
    const { verified } = this.#rows(address);
    const nowMs = this.clock.now().getTime();
    const standing = new Set(names);
    for (const name of verified.keys()) if (!standing.has(name)) verified.delete(name);
    for (const name of names) if (!verified.has(name)) verified.set(name, { atMs: nowMs, sha256: null });
    return [...verified]
      .map(([name, { atMs, sha256 }]) => ({ name, atMs, sha256, isNew: sha256 === null && unpinnedKindOf(name) !== undefined }))
      .sort((a, b) => Number(b.isNew) - Number(a.isNew) || a.atMs - b.atMs || (a.name < b.name ? -1 : 1))
      .slice(0, limit)
      .map(({ name, atMs, sha256, isNew }) => ({ name, sha256, isDue: isNew || atMs <= nowMs - everyMs }));
  }

  async recordVerified(address: ChainAddress, objects: readonly Verification[]): Promise<void> {
    const { verified } = this.#rows(address);
    const atMs = this.clock.now().getTime();
    for (const { name, sha256 } of objects) verified.set(name, { atMs, sha256 });
  }

  async damages(address: ChainAddress): Promise<Damage[]> {
    return [...this.#rows(address).damages.values()];
  }

  async recordDamage(address: ChainAddress, damage: Damage): Promise<void> {
    this.#rows(address).damages.set(damage.name, damage);
  }

  async endDamage(address: ChainAddress, name: string): Promise<void> {
    this.#rows(address).damages.delete(name);
  }

  #rows({ chainId }: ChainAddress): Rows {
    let rows = this.#chains.get(chainId);
    if (rows === undefined) this.#chains.set(chainId, (rows = { verified: new Map(), damages: new Map() }));
    return rows;
  }
}
