import { createHash } from 'node:crypto';
import { type ChainAddress, type Damage, ObjectNames, repairFromBytes, repairFromCopy } from '#libs/chain';
import { messageOf, PlatformError, type Logger } from '#libs/kernel';
import { ObjectStore } from '#libs/object-store';
import { type Tx, UnitOfWork } from '#libs/platform';
import { AuditLog } from '#libs/tenancy';
import { siteOfCopy } from '../tables/extended-replications.js';
import { findFence, isKnownWhole, knownDocuments } from '../tables/known-documents.js';
import { readInstallation } from '../tables/installation.js';
import { readDamages } from '../tables/postgres-scrub-ledger.js';
import { ThirdSites } from '../third-sites.js';

const SYSTEM = { kind: 'system' as const, id: null, name: 'worker' };

interface Wanted {
  readonly name: string;
  /** What it must hold; null where nobody knows, for it was never found sound. */
  readonly sha256: string | null;
  /** What the database says that it holds. */
  readonly bytes: Buffer | null;
}

/**
 * Puts back what the scrub found damaged: what the database knows whole it writes again, all else comes from the copy at a third site; the same bytes, by the hash that
 * refers to them or that they had before, or nothing is touched. The scrub's next turn finds them sound and ends the quarantine. What the copy does not have, or has
 * damaged too, stays as it is.
 */
export class MendFromCopy {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly store: ObjectStore,
    private readonly sites: ThirdSites,
    private readonly auditLog: AuditLog,
  ) {}

  /** Says how many objects are sound again. */
  async mend(address: ChainAddress, logger: Logger, signal: AbortSignal): Promise<number> {
    const { site, wanted } = await this.unitOfWork.run(address.tenantId, async (tx) => {
      // To put back is to delete first: not on the word of a database that does not hold.
      if ((await readInstallation(tx)).withheld !== null) return { site: undefined, wanted: [] };
      return { site: await siteOfCopy(tx, address.chainId), wanted: await wantedOf(tx, address, await readDamages(tx, address.chainId)) };
    });
    let mended = 0;
    for (const { name, sha256, bytes } of wanted) {
      const from = bytes === null ? site : 'catalogue';
      if (from === undefined) continue;
      try {
        const { isChanged } = await this.#putBack(address, { name, sha256, bytes }, from, signal);
        if (!isChanged) continue;
        mended += 1;
        logger.warn({ object: name, from }, 'a damaged object was put back');
        await this.unitOfWork.run(address.tenantId, (tx) => this.#append(tx, address, name, bytes === null ? from : null));
      } catch (error) {
        if (signal.aborted) throw error;
        const code = error instanceof PlatformError ? error.code : undefined;
        logger.error({ object: name, from, code, error: messageOf(error) }, 'a damaged object could not be put back');
      }
    }
    return mended;
  }

  async #putBack(
    address: ChainAddress,
    { name, sha256, bytes }: Wanted,
    site: string,
    signal: AbortSignal,
  ): Promise<{ readonly isChanged: boolean }> {
    const { store } = this;
    if (bytes !== null) return repairFromBytes({ store, address, name, bytes, signal });
    if (sha256 === null) return { isChanged: false };
    const copy = { store: await this.sites.open(site), address };
    return repairFromCopy({ store, copy, address, name, sha256, signal });
  }

  /** Without a site where the catalogue knew it. */
  async #append(tx: Tx, { chainId }: ChainAddress, object: string, site: string | null): Promise<void> {
    const subject = { kind: 'chain', id: chainId };
    await this.auditLog.append(tx, { actor: SYSTEM, action: 'chain.object-mended', subject, details: { object, site } });
  }
}

/** What can be put back. Indexes are built again, and snapshots begun anew. */
async function wantedOf(tx: Tx, address: ChainAddress, damages: readonly Damage[]): Promise<Wanted[]> {
  const hashes = await hashesOf(tx, address, damages);
  const known = damages.some(({ kind }) => isKnownWhole(kind)) ? await knownDocuments(tx, address) : new Map<string, Buffer>();
  const wanted: Wanted[] = [];
  for (const { name, kind } of damages) {
    const sha256 = hashes.get(name) ?? null;
    const bytes = kind === 'fence' && sha256 !== null ? await findFence(tx, address, name, sha256) : (known.get(name) ?? null);
    wanted.push({ name, sha256, bytes: bytes !== null && (sha256 ?? hashOf(bytes)) === hashOf(bytes) ? bytes : null });
  }
  return wanted;
}

function hashOf(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** What each must hold, as far as that is known. */
async function hashesOf(tx: Tx, { tenantId, chainId }: ChainAddress, damages: readonly Damage[]): Promise<ReadonlyMap<string, string>> {
  const names = new ObjectNames(tenantId, chainId);
  const manifests = await tx.query<{ branch_id: string; sequence: number; cycle: string; sha256: string }>(
    `select branch_id, sequence, cycle, sha256 from chain_manifest where tenant_id = $1 and chain_id = $2 and cycle = any($3::text[])`,
    [tenantId, chainId, damages.flatMap(({ kind, name }) => (kind === 'manifest' ? [name.slice(-16)] : []))],
  );
  const seen = await tx.query<{ name: string; sha256: string }>(
    `select name, sha256 from chain_object where tenant_id = $1 and chain_id = $2 and sha256 is not null and name = any($3::text[])`,
    [tenantId, chainId, damages.map(({ name }) => name)],
  );
  const pinned = new Map(seen.map(({ name, sha256 }) => [name, sha256]));
  for (const { branch_id: branchId, sequence, cycle, sha256 } of manifests)
    pinned.set(names.manifest({ branchId: branchId as never, sequence, cycle: BigInt(`0x${cycle}`) }).slice(names.prefix.length), sha256);
  for (const { kind, name } of damages) if (kind === 'segment' || kind === 'list') pinned.set(name, name.slice(2));
  return pinned;
}
