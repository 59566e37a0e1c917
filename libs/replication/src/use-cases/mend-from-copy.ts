import { type ChainAddress, type Damage, ObjectNames, repairFromCopy } from '#libs/chain';
import { messageOf, PlatformError, type Logger } from '#libs/kernel';
import { ObjectStore } from '#libs/object-store';
import { type Tx, UnitOfWork } from '#libs/platform';
import { AuditLog } from '#libs/tenancy';
import { siteOfCopy } from '../tables/extended-replications.js';
import { readInstallation } from '../tables/installation.js';
import { readDamages } from '../tables/postgres-scrub-ledger.js';
import { ThirdSites } from '../third-sites.js';

const SYSTEM = { kind: 'system' as const, id: null, name: 'worker' };

/**
 * Puts what the scrub found damaged back from the copy at a third site: the same bytes, by the hash that refers to them, or nothing is touched. The scrub's next
 * turn finds them sound and ends the quarantine. What the copy does not have, or has damaged too, stays as it is.
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
      const copiedTo = await siteOfCopy(tx, address.chainId);
      // To put back is to delete first: not on the word of a database that does not hold.
      if (copiedTo === undefined || (await readInstallation(tx)).withheld !== null) return { site: undefined, wanted: [] };
      return { site: copiedTo, wanted: await hashesOf(tx, address, await readDamages(tx, address.chainId)) };
    });
    if (site === undefined) return 0;
    let mended = 0;
    for (const { name, sha256 } of wanted) {
      try {
        const copy = { store: await this.sites.open(site), address };
        const { isChanged } = await repairFromCopy({ store: this.store, copy, address, name, sha256, signal });
        if (!isChanged) continue;
        mended += 1;
        logger.warn({ object: name, site }, 'a damaged object was put back from the third site');
        await this.unitOfWork.run(address.tenantId, (tx) => this.#append(tx, address, name, site));
      } catch (error) {
        if (signal.aborted) throw error;
        const code = error instanceof PlatformError ? error.code : undefined;
        logger.error({ object: name, site, code, error: messageOf(error) }, 'a damaged object could not be put back from the third site');
      }
    }
    return mended;
  }

  async #append(tx: Tx, { chainId }: ChainAddress, object: string, site: string): Promise<void> {
    const subject = { kind: 'chain', id: chainId };
    await this.auditLog.append(tx, { actor: SYSTEM, action: 'chain.object-mended', subject, details: { object, site } });
  }
}

/** Of what can be put back: what each must hold. Indexes are built again, and snapshots begun anew. */
async function hashesOf(
  tx: Tx,
  { tenantId, chainId }: ChainAddress,
  damages: readonly Damage[],
): Promise<{ readonly name: string; readonly sha256: string }[]> {
  const names = new ObjectNames(tenantId, chainId);
  const manifests = await tx.query<{ branch_id: string; sequence: number; cycle: string; sha256: string }>(
    `select branch_id, sequence, cycle, sha256 from chain_manifest where tenant_id = $1 and chain_id = $2 and cycle = any($3::text[])`,
    [tenantId, chainId, damages.flatMap(({ kind, name }) => (kind === 'manifest' ? [name.slice(-16)] : []))],
  );
  const keys = await tx.query<{ name: string; sha256: string }>(
    `select name, sha256 from chain_object where tenant_id = $1 and chain_id = $2 and sha256 is not null and name = any($3::text[])`,
    [tenantId, chainId, damages.flatMap(({ kind, name }) => (kind === 'key' ? [name] : []))],
  );
  const pinned = new Map(keys.map(({ name, sha256 }) => [name, sha256]));
  for (const { branch_id: branchId, sequence, cycle, sha256 } of manifests)
    pinned.set(names.manifest({ branchId: branchId as never, sequence, cycle: BigInt(`0x${cycle}`) }).slice(names.prefix.length), sha256);
  for (const { kind, name } of damages) if (kind === 'segment' || kind === 'list') pinned.set(name, name.slice(2));
  return damages.flatMap(({ name }) => {
    const sha256 = pinned.get(name);
    return sha256 === undefined ? [] : [{ name, sha256 }];
  });
}
