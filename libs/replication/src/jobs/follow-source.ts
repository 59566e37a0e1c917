import { adoptTenantKeys } from '#libs/agents';
import {
  acceptSource,
  type ChainAddress,
  findChains,
  type Installation,
  ObjectNames,
  readChainFromStore,
  readPairings,
  readTenantKeyRecords,
} from '#libs/chain';
import { CodedError, type Logger, messageOf, MINUTE_MS } from '#libs/kernel';
import { ObjectStore } from '#libs/object-store';
import { PlatformUnitOfWork, Reconciler, type ReconcilerContext, UnitOfWork } from '#libs/platform';
import { adoptChain, ensureTenant } from '../tables/adopt-chain.js';
import { ensureRelationship } from '../tables/adopt-relationship.js';
import { endFollowing, followingOf, forgetFollowed, isNews, listOwnUpTo, recordFollowed } from '../tables/followed-chains.js';
import { readInstallation } from '../tables/installation.js';
import { FollowedSource } from '../third-sites.js';
import { AdoptCatalogue } from '../use-cases/adopt-catalogue.js';

/**
 * The third site's side of extended replication, where it is a Holdfast of its own: says that it follows the source, and takes in what the source has carried, chain
 * by chain. A chain that this installation writes itself is never touched. A followed one is read here, and can be exported, tested and failed over; nothing of it is
 * compacted, expired or collected here while the source writes it, since the two share no lock. A failover ends that: its epoch is of an incarnation above the
 * source's, its fence shuts the source out and tells it to carry no more.
 */
export class FollowSource extends Reconciler {
  readonly name = 'replication.follow-source';
  readonly intervalMs = MINUTE_MS;

  constructor(
    private readonly platform: PlatformUnitOfWork,
    private readonly unitOfWork: UnitOfWork,
    private readonly store: ObjectStore,
    private readonly source: FollowedSource,
  ) {
    super();
  }

  async run({ logger, signal }: ReconcilerContext): Promise<void> {
    const { installationId: sourceId } = this.source;
    if (sourceId === null) return;
    const { withheld, isStamped, id, incarnation } = await this.platform.run(readInstallation);
    // What an earlier round has begun, and did not end, is ended here.
    const isSurpassing = withheld === 'catalogue.surpassing';
    if (!isSurpassing && (withheld !== null || !isStamped)) return;
    await this.#accept({ id, incarnation }, sourceId);
    const highest = Math.max(...(await readPairings(this.store)).map(({ source }) => source.incarnation));
    const adoption = new AdoptCatalogue(this.platform, this.unitOfWork, this.store);
    const holding = !isSurpassing && highest < incarnation ? incarnation : await adoption.surpass(highest);
    for (const { tenantId, chainId } of await this.platform.run(endFollowing)) {
      await this.unitOfWork.run(tenantId, (tx) => forgetFollowed(tx, chainId));
      logger.warn({ tenantId, chainId }, 'a chain was failed over here, and follows its source no more');
    }
    for await (const address of findChains(this.store)) {
      if (signal.aborted) return;
      await this.#follow(address, sourceId, holding, logger.child({ ...address }));
    }
  }

  /**
   * Once, and not where a rebuild made the source's chains this installation's own: each of the two would write, expire and collect under the same names.
   * `carry.chains-taken-over`, `carry.paired-elsewhere`.
   */
  async #accept(owner: Installation, sourceId: string): Promise<void> {
    const pairings = await readPairings(this.store);
    if (pairings.some((pairing) => pairing.owner === owner.id && pairing.source.id === sourceId)) return;
    const carried = Math.max(0, ...pairings.filter(({ source }) => source.id === sourceId).map(({ source }) => source.incarnation));
    const chainIds = await this.platform.run((tx) => listOwnUpTo(tx, carried));
    if (chainIds.length > 0)
      throw new CodedError(
        'carry.chains-taken-over',
        'conflict',
        'a rebuild made chains of this source the own ones of this installation: it cannot follow the source as well',
        { chains: chainIds.length, first: chainIds[0]! },
      );
    await acceptSource(this.store, owner, sourceId);
  }

  /** One that cannot be taken in keeps no other from it; the next round tries again. */
  async #follow(address: ChainAddress, sourceId: string, incarnation: number, logger: Logger): Promise<void> {
    const { tenantId, chainId } = address;
    try {
      const following = await this.unitOfWork.run(tenantId, (tx) => followingOf(tx, chainId));
      if (following === 'own' || (following === 'followed' && !(await this.#hasNews(address)))) return;
      const recovered = await readChainFromStore(this.store, address);
      if (recovered.manifests.length === 0) return;
      const { records } = await readTenantKeyRecords(this.store, tenantId);
      const adopted = await this.unitOfWork.run(tenantId, async (tx) => {
        await ensureTenant(tx);
        await adoptTenantKeys(tx, records);
        // Asked again, under the chain's lock: it may have been failed over meanwhile.
        const done = await adoptChain(tx, recovered, { incarnation, givesUpDamaged: false });
        if (!done.isNewChain && (await followingOf(tx, chainId)) !== 'followed') throw new NotFollowed();
        await ensureRelationship(tx, recovered);
        await recordFollowed(tx, recovered, sourceId);
        return done;
      });
      const { manifests, points, removedPoints } = adopted;
      logger.info({ manifests, points, removedPoints }, 'what the source has carried was taken in');
    } catch (error) {
      if (error instanceof NotFollowed) return;
      logger.error({ error: messageOf(error) }, 'a followed chain could not be taken in; it is tried again');
    }
  }

  async #hasNews(address: ChainAddress): Promise<boolean> {
    const { prefix } = new ObjectNames(address.tenantId, address.chainId);
    const names: string[] = [];
    for (const part of ['k/', 'm/', 'v/']) for await (const { key } of this.store.list(prefix + part)) names.push(key.slice(prefix.length));
    return this.unitOfWork.run(address.tenantId, (tx) => isNews(tx, address.chainId, names));
  }
}

/** Undoes the transaction. */
class NotFollowed extends Error {}
