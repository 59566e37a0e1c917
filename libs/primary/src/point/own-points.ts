import { ChainKeys, ObjectNames, openView, resolveAgain, type ChainView, type ManifestRef, type PathHelp } from '#libs/chain';
import type { ManifestRef as WireManifestRef, ViewAnswer, WirePoint, WireRelationship } from '#libs/contracts/wire';
import { asId, CodedError, newId, SECOND_MS, type BranchId, type ChainId, type Clock, type Logger, type TenantId } from '#libs/kernel';
import { RetryingObjectStore } from '#libs/object-store';
import { EnrolledHost, PeriodicTask, RemoteObjectStore, type RequestRetries } from '#libs/peer';
import type { StateDirectory } from '../state/state-directory.js';
import { ReplicationApi } from '../transport/replication-api.js';

export interface OwnPointsOptions {
  readonly state: StateDirectory;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly retries?: RequestRetries;
}

/** Reads of the store at a time: a receiver gives one host few places, and the agent's uploads want some too. */
const PARALLELISM = 3;
const STORE_RETRIES: RequestRetries = { attemptsMax: 8, firstDelayMs: 200, delayMaxMs: 5 * SECOND_MS };

/**
 * The recovery points of this host's own VMs, read back through a receiver and opened with the keys that this host has. Works beside a running agent
 * and takes nothing away from it.
 */
export class OwnPoints {
  private constructor(
    private readonly options: OwnPointsOptions,
    private readonly identity: EnrolledHost,
    private readonly api: ReplicationApi,
  ) {}

  /** Errors: `host.not-enrolled`, `identity.expired`. */
  static async of(options: OwnPointsOptions): Promise<OwnPoints> {
    const { state, clock, logger, retries } = options;
    const identity = await EnrolledHost.load(state, clock, logger);
    identity.assertCurrent();
    return new OwnPoints(options, identity, new ReplicationApi(identity.client, clock, retries));
  }

  /** A VM by its name, its id in the hypervisor, or the id of its replication. Errors: `point.vm-unknown`, `point.vm-ambiguous`. */
  async find(vm: string): Promise<WireRelationship> {
    const { relationships } = await this.api.relationships();
    const known = relationships.filter(({ state }) => state !== 'Disabled');
    const found = known.filter(({ id, sourceId, vmName }) => [id, sourceId, vmName].includes(vm));
    if (found.length === 1) return found[0]!;
    const names = known.map(({ vmName, id }) => `${vmName} (${id})`).join(', ') || 'none';
    if (found.length > 1)
      throw new CodedError('point.vm-ambiguous', 'invalid', `several VMs are called ${vm}; say which by its id: ${names}`);
    throw new CodedError('point.vm-unknown', 'not-found', `no replicated VM of this host is called ${vm}; there are: ${names}`);
  }

  /** Newest first, all of them. */
  async list({ id }: Pick<WireRelationship, 'id'>): Promise<WirePoint[]> {
    const points: WirePoint[] = [];
    for (let page = await this.api.points(id, null); page.length > 0; page = await this.api.points(id, page.at(-1)!.cycle))
      points.push(...page);
    return points;
  }

  /** Leases a point, null being the newest. Errors: `point.not-found`, `point.none`, `keys.fingerprint-missing`. */
  async lease({ id }: Pick<WireRelationship, 'id'>, pointId: string | null): Promise<LeasedPoint> {
    const viewId = newId();
    const first = await this.api.openView(id, viewId, pointId);
    return new LeasedPoint({ ...this.options, api: this.api, identity: this.identity, relationshipId: id, viewId }, first);
  }

  async close(): Promise<void> {
    await this.identity.client.close();
  }
}

interface LeaseServices extends OwnPointsOptions {
  readonly api: ReplicationApi;
  readonly identity: EnrolledHost;
  readonly relationshipId: string;
  readonly viewId: string;
}

export interface LostIndexes {
  readonly lost?: ReadonlySet<string>;
  readonly onLostIndex?: (sha256: string) => void;
}

/** A point that stays there for as long as this is not released. */
export class LeasedPoint {
  readonly #ending = new AbortController();
  readonly #renewal: PeriodicTask;
  #resolved: ViewAnswer;

  constructor(
    private readonly services: LeaseServices,
    first: ViewAnswer,
  ) {
    const { clock, logger } = services;
    this.#resolved = first;
    this.#renewal = new PeriodicTask({
      name: 'lease of a point',
      intervalMs: first.leaseMs / 4,
      work: async () => void (await this.#resolve()),
      clock,
      logger,
      signal: this.#ending.signal,
    });
  }

  get id(): string {
    return this.#resolved.pointId;
  }

  /**
   * Resolved anew each time: after a compaction the same bytes are elsewhere. `lost` are indexes that failed before. Errors: those of chain's `openView`, and
   * `view.too-many-replacements`.
   */
  async open({ lost = new Set<string>(), onLostIndex = () => {} }: LostIndexes = {}): Promise<ChainView> {
    const view = await this.#resolve();
    const { identity, clock, relationshipId } = this.services;
    const [tenantId, chainId] = [asId<TenantId>(view.tenantId), asId<ChainId>(view.chainId)];
    const { prefix } = new ObjectNames(tenantId, chainId);
    return openView({
      store: new RetryingObjectStore(new RemoteObjectStore({ client: identity.client, relationshipId, prefix }), STORE_RETRIES, clock),
      tenantId,
      chainId,
      head: toManifestRef(view.point),
      keys: await this.#keys(chainId),
      parallelism: PARALLELISM,
      ...(await this.#helpFor(view, lost)),
      onLostIndex,
      signal: this.#ending.signal,
    });
  }

  /** Close the views first. */
  async release(): Promise<void> {
    const { api, relationshipId, viewId, logger } = this.services;
    this.#ending.abort(new CodedError('point.released', 'gone', 'the point was released'));
    await this.#renewal.ended;
    const patience = AbortSignal.timeout(5 * SECOND_MS);
    await api.releaseView(relationshipId, viewId, patience).catch((error: unknown) => {
      logger.debug({ error }, 'a lease was not given back; it ends by itself');
    });
  }

  #helpFor(view: ViewAnswer, lost: ReadonlySet<string>): Promise<PathHelp> {
    const { api, relationshipId, viewId } = this.services;
    return resolveAgain({
      head: toManifestRef(view.point),
      lost,
      resolve: async () => ({ ...pathHelp(view), isWhole: view.map.isCut !== true }),
      replacementsOf: (ranges, after) => api.replacements(relationshipId, viewId, { ranges: [...ranges], after }, this.#ending.signal),
    });
  }

  async #resolve(): Promise<ViewAnswer> {
    const { api, identity, relationshipId, viewId } = this.services;
    await identity.refresh();
    this.#resolved = await api.openView(relationshipId, viewId, this.#resolved.pointId, this.#ending.signal);
    return this.#resolved;
  }

  async #keys(chainId: ChainId): Promise<ChainKeys> {
    const keys = await this.services.state.readKeys(this.services.relationshipId);
    const ofChain = keys.filter((key) => key.chainId === chainId);
    const fingerprint = ofChain.find(({ kind }) => kind === 'fingerprint');
    if (fingerprint === undefined) {
      const message = `${this.services.state.path} has no keys of this VM's chain: only the host that replicated it has them`;
      throw new CodedError('keys.fingerprint-missing', 'forbidden', message);
    }
    const dataKeys = new Map(
      ofChain.filter(({ kind }) => kind === 'data').map(({ generation, key }) => [generation, Buffer.from(key, 'base64')]),
    );
    return new ChainKeys({ chainId, fingerprintKey: Buffer.from(fingerprint.key, 'base64'), dataKeys });
  }
}

function pathHelp({ map }: ViewAnswer): PathHelp {
  return {
    indexes: map.indexes.map((index) => ({ ...index, branchId: asId<BranchId>(index.branchId), lastCycle: BigInt(index.lastCycle) })),
    known: map.layers.map(toManifestRef),
    replacements: new Map(map.replacements.map(({ segment, by }) => [segment, by])),
  };
}

function toManifestRef({ branchId, cycle, ...rest }: WireManifestRef): ManifestRef {
  return { ...rest, branchId: asId<BranchId>(branchId), cycle: BigInt(cycle) };
}
