import { findActiveReplicaNode } from '#libs/agents';
import { decodeWrappedKey, ObjectNames } from '#libs/chain';
import type { GrantedKey } from '#libs/contracts/commands';
import { asId, CodedError, DAY_MS, type RecoveryPointId, type ReplicaNodeId, type TenantId } from '#libs/kernel';
import { ObjectStore } from '#libs/object-store';
import { KeyProvider, wrapToKey } from '#libs/pki';
import { PlatformUnitOfWork, type Tx, UnitOfWork } from '#libs/platform';
import { AuditLog } from '#libs/tenancy';
import { type HeldKey, keysOfPoint } from '../tables/chain-keys.js';
import { askAgain, insertKeyRequest, keyGrantsOf, type KeyGrantRow, type KeyPurpose } from '../tables/key-requests.js';
import { isFaultOfKey } from './open-key.js';
import type { PointDescription } from './role-changes.js';

/** The nodes that may be given a point's keys now: any; these, to which the tenant released its keys; or, an empty list, none yet. */
export type PossibleReaders = 'any' | readonly ReplicaNodeId[];

/** The same grant is told once a day. */
const GRANT_TOLD_MS = DAY_MS;

interface Needed {
  readonly keys: readonly HeldKey[];
  readonly grants: readonly KeyGrantRow[];
}

/**
 * Gives a replica node the keys of a point, each wrapped to that node's own key, so that it and nobody else can read. Where the provider holds the
 * tenant's key, this is the only place that uses it; what it opens never leaves this method. Where the tenant holds it, they come from what the
 * tenant released for this very failover or export, and nobody here could have made them.
 */
export class GrantKeys {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly platform: PlatformUnitOfWork,
    private readonly store: ObjectStore,
    private readonly keyProvider: KeyProvider,
    private readonly audit: AuditLog,
  ) {}

  /** Asks the tenant where its keys are needed and were not released to any node that is active now. Safe to repeat. */
  async possibleReaders(tenantId: TenantId, point: PointDescription, purpose: KeyPurpose): Promise<PossibleReaders> {
    const readers = await this.unitOfWork.run(tenantId, async (tx) => {
      const needed = await needs(tx, point, purpose);
      const held = tenantHeld(needed.keys);
      if (held.length === 0) return 'any';
      await insertKeyRequest(tx, { ...purpose, chainId: point.chainId, recoveryPointId: await manifestIdOf(tx, point) });
      const nodes = new Set(needed.grants.map(({ replica_node_id }) => asId<ReplicaNodeId>(replica_node_id)));
      return [...nodes].filter((node) => held.every((key) => grantFor(needed, key, node) !== undefined));
    });
    if (readers === 'any') return readers;
    const active = await this.platform.run(async (tx) => {
      const nodes: ReplicaNodeId[] = [];
      for (const node of readers) if ((await findActiveReplicaNode(tx, node)) !== undefined) nodes.push(node);
      return nodes;
    });
    // A publication goes on for long: what was released once may not do for what comes later.
    if (active.length === 0 && purpose.kind === 'publication') await this.unitOfWork.run(tenantId, (tx) => askAgain(tx, purpose.id));
    return active;
  }

  /** Throws `cluster.node-gone`, `keys.none`, `keys.not-released`, and as the key provider does. */
  async execute(tenantId: TenantId, point: PointDescription, nodeId: ReplicaNodeId, purpose: KeyPurpose): Promise<GrantedKey[]> {
    const node = await this.platform.run((tx) => findActiveReplicaNode(tx, nodeId));
    if (node === undefined) throw new CodedError('cluster.node-gone', 'unavailable', 'the replica node is no longer active');
    const needed = await this.unitOfWork.run(tenantId, (tx) => needs(tx, point, purpose));
    if (!needed.keys.some(({ kind }) => kind === 'data')) throw new CodedError('keys.none', 'conflict', 'this chain has no key yet');
    const names = new ObjectNames(tenantId, point.chainId);
    const granted: GrantedKey[] = [];
    let fault: unknown;
    for (const key of generationsOf(needed.keys)) {
      const { kind, generation, recipient, reference } = key;
      if (reference === null) {
        const grant = grantFor(needed, key, nodeId);
        if (grant === undefined)
          throw new CodedError(
            'keys.not-released',
            'unavailable',
            'the tenant holds these keys and has not released them to this replica node',
          );
        granted.push({ kind, generation, wrapped: grant.wrapped.toString('base64') });
        continue;
      }
      try {
        const { wrapped } = decodeWrappedKey(await this.store.get(names.wrappedKey({ kind, generation, recipient })), point);
        const inside = (await this.keyProvider.unwrap(reference, wrapped)).reveal();
        granted.push({ kind, generation, wrapped: wrapToKey(node.unwrapping_key, inside).toString('base64') });
        inside.fill(0);
      } catch (error) {
        // That one does not open was told, and whoever wants the point all the same gets what does.
        if (!isFaultOfKey(error) || key.fault === null || kind !== 'data') throw error;
        fault = error;
      }
    }
    if (!granted.some(({ kind }) => kind === 'data')) throw fault;
    await this.unitOfWork.run(tenantId, (tx) => this.note(tx, point, { id: nodeId, fqdn: node.fqdn }, purpose, granted.length));
    return granted;
  }

  /** The tenant sees who can read what of it from now on. A step that is repeated grants the same again. */
  private async note(
    tx: Tx,
    point: PointDescription,
    node: { readonly id: ReplicaNodeId; readonly fqdn: string },
    purpose: KeyPurpose,
    keyCount: number,
  ): Promise<void> {
    const entry = {
      actor: { kind: 'system', id: null, name: 'worker' },
      action: 'keys.granted',
      subject: { kind: 'recovery-point', id: await manifestIdOf(tx, point) },
      details: { for: purpose.kind, forId: purpose.id, replicaNodeId: node.id, replicaNode: node.fqdn, chainId: point.chainId, keyCount },
    } as const;
    await this.audit.appendOnce(tx, entry, GRANT_TOLD_MS);
  }
}

async function manifestIdOf(tx: Tx, { chainId, ref }: PointDescription): Promise<RecoveryPointId> {
  const { id } = await tx.one<{ id: RecoveryPointId }>(
    `select id from chain_manifest where tenant_id = $1 and chain_id = $2 and sha256 = $3`,
    [tx.tenantId, chainId, ref.sha256],
  );
  return id;
}

async function needs(tx: Tx, point: PointDescription, purpose: KeyPurpose): Promise<Needed> {
  return { keys: await keysOfPoint(tx, point.chainId, point.ref.sha256), grants: await keyGrantsOf(tx, purpose.id) };
}

/** One of each generation: one that the provider opens, if any. */
export function generationsOf(keys: readonly HeldKey[]): HeldKey[] {
  const chosen = new Map<string, HeldKey>();
  for (const key of keys) {
    const name = `${key.kind} ${key.generation}`;
    const former = chosen.get(name);
    if (former === undefined || (former.reference === null && key.reference !== null && key.fault === null)) chosen.set(name, key);
  }
  return [...chosen.values()];
}

/** Those that only the tenant can open. */
export function tenantHeld(keys: readonly HeldKey[]): HeldKey[] {
  return generationsOf(keys).filter(({ reference }) => reference === null);
}

function grantFor({ grants }: Needed, { kind, generation }: HeldKey, node: ReplicaNodeId): KeyGrantRow | undefined {
  return grants.find((grant) => grant.replica_node_id === node && grant.kind === kind && grant.generation === generation);
}
