import { type ActiveReplicaNode, listActiveReplicaNodes, ProviderIdentity } from '#libs/agents';
import { decodeWrappedKey, ObjectNames } from '#libs/chain';
import type { KeyRequestDetails, KeyRequestView, ReleaseKeys as Release, WrappedKeyView } from '#libs/contracts/http';
import { asId, type ChainId, CodedError, type ReplicaNodeId, type TenantId } from '#libs/kernel';
import { ObjectStore } from '#libs/object-store';
import { Outbox, PlatformUnitOfWork, Sagas, type Tx, UnitOfWork } from '#libs/platform';
import { type Actor, auditActorOf, AuditLog } from '#libs/tenancy';
import { exportRequested } from '../jobs/events.js';
import { type HeldKey, keysOfPoint } from '../tables/chain-keys.js';
import {
  describeKeyRequest,
  getKeyRequest,
  insertKeyGrant,
  keyGrantsOf,
  type KeyRequestRow,
  listKeyRequests,
  markReleased,
} from '../tables/key-requests.js';
import { listWaitingForKeys } from '../tables/point-exports.js';
import { hurryRepair } from '../tables/repairs.js';
import { tenantHeld } from './grant-keys.js';
import { findPointSource } from './role-changes.js';

/**
 * The tenant's side of keys that the tenant holds: what waits for them, what to open and for whom to wrap it, and the release. What comes in is
 * sealed to replica nodes; nothing here could tell whether it is right, the node finds out.
 */
export class ReleaseKeys {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly platform: PlatformUnitOfWork,
    private readonly store: ObjectStore,
    private readonly provider: ProviderIdentity,
    private readonly sagas: Sagas,
    private readonly outbox: Outbox,
    private readonly audit: AuditLog,
  ) {}

  async list(tenantId: TenantId): Promise<KeyRequestView[]> {
    const nodes = await this.platform.run(listActiveReplicaNodes);
    return this.unitOfWork.run(tenantId, async (tx) => {
      const views: KeyRequestView[] = [];
      for (const row of await listKeyRequests(tx)) views.push(await toView(tx, row, nodes));
      return views;
    });
  }

  /** Throws `key-request.not-found`. */
  async details(tenantId: TenantId, id: string): Promise<KeyRequestDetails> {
    const nodes = await this.platform.run(listActiveReplicaNodes);
    const { view, chainId, held } = await this.unitOfWork.run(tenantId, async (tx) => {
      const row = await getKeyRequest(tx, id);
      return { view: await toView(tx, row, nodes), chainId: asId<ChainId>(row.chain_id), held: await heldKeys(tx, row) };
    });
    const keys: WrappedKeyView[] = [];
    for (const key of held) keys.push(await readWrapped(this.store, tenantId, key));
    const recipients = nodes.map(({ id: replicaNodeId, fqdn, unwrapping_key, unwrappingKeySha256, unwrapping_attestation }) => ({
      replicaNodeId,
      name: fqdn,
      publicKey: unwrapping_key.toString('base64'),
      publicKeySha256: unwrappingKeySha256,
      attestation: unwrapping_attestation?.toString('base64') ?? null,
    }));
    const [authority, root] = [await this.provider.nodes(), await this.provider.root()];
    return { ...view, chainId, keys, recipients, nodeAuthority: `${authority.certificatePem}${root.certificatePem}` };
  }

  /**
   * Takes the keys for these nodes and lets what waits go on. A later release adds nodes, so that the VM can be placed again. Throws
   * `key-request.not-found`, `replica-node.not-found`, `keys.release-incomplete`, `keys.release-malformed`.
   */
  async release(tenantId: TenantId, actor: Actor, id: string, { grants }: Release): Promise<KeyRequestView> {
    const nodes = await this.platform.run(listActiveReplicaNodes);
    return this.unitOfWork.run(tenantId, async (tx) => {
      const row = await getKeyRequest(tx, id, { lock: true });
      const held = await heldKeys(tx, row);
      for (const grant of grants) {
        const node = nodes.find((each) => each.id === grant.replicaNodeId);
        if (node === undefined)
          throw new CodedError('replica-node.not-found', 'not-found', 'no such replica node is active', {
            replicaNodeId: grant.replicaNodeId,
          });
        await insertGrant(tx, id, node, held, grant.keys);
      }
      await markReleased(tx, id);
      if (row.kind === 'failover') await this.sagas.wake(tx, id);
      else if (row.kind === 'repair') await hurryRepair(tx, id);
      else
        for (const exportId of await listWaitingForKeys(tx, id))
          await this.outbox.add(tx, exportRequested, { tenantId, exportId }, `${exportId}-released`);
      await this.audit.append(tx, {
        actor: auditActorOf(actor),
        action: 'keys.released',
        subject: { kind: row.kind, id },
        details: {
          recoveryPointId: row.recovery_point_id,
          replicaNodeIds: grants.map(({ replicaNodeId }) => replicaNodeId),
          generations: held.length,
        },
      });
      return toView(tx, await getKeyRequest(tx, id), nodes);
    });
  }
}

async function insertGrant(
  tx: Tx,
  requestId: string,
  node: ActiveReplicaNode,
  held: readonly HeldKey[],
  keys: Release['grants'][number]['keys'],
): Promise<void> {
  for (const { kind, generation } of held) {
    const given = keys.find((key) => key.kind === kind && key.generation === generation);
    if (given === undefined)
      throw new CodedError('keys.release-incomplete', 'invalid', 'a release gives every key that the point needs', { kind, generation });
    const wrapped = Buffer.from(given.wrapped, 'base64');
    if (wrapped.length !== node.unwrappingKeyBytes)
      throw new CodedError('keys.release-malformed', 'invalid', "this was not wrapped to the replica node's key", { kind, generation });
    await insertKeyGrant(tx, requestId, { replicaNodeId: asId<ReplicaNodeId>(node.id), kind, generation, wrapped });
  }
}

async function heldKeys(tx: Tx, row: KeyRequestRow): Promise<HeldKey[]> {
  const point = await findPointSource(tx, asId(row.recovery_point_id));
  return tenantHeld(await keysOfPoint(tx, point.chainId, point.ref.sha256));
}

async function toView(tx: Tx, row: KeyRequestRow, nodes: readonly ActiveReplicaNode[]): Promise<KeyRequestView> {
  const { vm_name: vmName, instant } = await describeKeyRequest(tx, row);
  const holders = new Set((await keyGrantsOf(tx, row.id)).map(({ replica_node_id }) => replica_node_id));
  return {
    id: row.id,
    kind: row.kind,
    vmName,
    pointInstant: instant.toISOString(),
    state: row.released_at === null ? 'waiting' : 'released',
    requestedAt: row.requested_at.toISOString(),
    releasedAt: row.released_at?.toISOString() ?? null,
    replicaNodes: nodes.filter(({ id }) => holders.has(id)).map(({ fqdn }) => fqdn),
  };
}

/** The object as it lies in the store. */
export async function readWrapped(
  store: ObjectStore,
  tenantId: TenantId,
  { chain_id: chainId, kind, generation, recipient }: Pick<HeldKey, 'chain_id' | 'kind' | 'generation' | 'recipient'>,
): Promise<WrappedKeyView> {
  const bytes = await store.get(new ObjectNames(tenantId, chainId).wrappedKey({ kind, generation, recipient }));
  decodeWrappedKey(bytes, { chainId });
  return { chainId, kind, generation, recipient, object: bytes.toString('base64') };
}
