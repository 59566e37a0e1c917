import { findActiveReplicaNode, findTenantKeyBySha256 } from '#libs/agents';
import { decodeWrappedKey, ObjectNames } from '#libs/chain';
import type { GrantedKey } from '#libs/contracts/commands';
import { type ChainId, CodedError, type ReplicaNodeId, type TenantId } from '#libs/kernel';
import { ObjectStore } from '#libs/object-store';
import { KeyProvider, wrapToKey } from '#libs/pki';
import { PlatformUnitOfWork, type RowOf, UnitOfWork } from '#libs/platform';
import { chainKeyTable } from '../tables/tables.js';

type ChainKeyRow = RowOf<typeof chainKeyTable>;

/**
 * Wraps every key of a chain again, to one replica node's own key, so that this node and nobody else can read its points.
 * Where the provider holds the tenant's key, this is the only place that uses it; what it opens never leaves this method.
 */
export class GrantKeys {
  constructor(
    private readonly unitOfWork: UnitOfWork,
    private readonly platform: PlatformUnitOfWork,
    private readonly store: ObjectStore,
    private readonly keyProvider: KeyProvider,
  ) {}

  async execute(tenantId: TenantId, chainId: ChainId, nodeId: ReplicaNodeId): Promise<GrantedKey[]> {
    const node = await this.platform.run((tx) => findActiveReplicaNode(tx, nodeId));
    if (node === undefined) throw new CodedError('cluster.node-gone', 'unavailable', 'the replica node is no longer active');
    const keys = await this.wrappedKeys(tenantId, chainId);
    if (!keys.some(({ kind }) => kind === 'data')) throw new CodedError('keys.none', 'conflict', 'this chain has no key yet');

    const names = new ObjectNames(tenantId, chainId);
    const granted: GrantedKey[] = [];
    for (const { kind, generation, recipient, reference } of keys) {
      const { wrapped } = decodeWrappedKey(await this.store.get(names.wrappedKey({ kind, generation, recipient })), { chainId });
      const inside = (await this.keyProvider.unwrap(reference, wrapped)).reveal();
      granted.push({ kind, generation, wrapped: wrapToKey(node.unwrapping_key, inside).toString('base64') });
      inside.fill(0);
    }
    return granted;
  }

  private wrappedKeys(tenantId: TenantId, chainId: ChainId): Promise<(ChainKeyRow & { readonly reference: string })[]> {
    return this.unitOfWork.run(tenantId, async (tx) => {
      const rows = await tx.query<ChainKeyRow>(
        `select ${chainKeyTable.list} from chain_key where tenant_id = $1 and chain_id = $2 order by kind, generation, recipient`,
        [tenantId, chainId],
      );
      const keys: (ChainKeyRow & { reference: string })[] = [];
      for (const row of rows) {
        // A generation may be wrapped for others as well; those that this tenant's key opens are the ones to grant from.
        const holder = await findTenantKeyBySha256(tx, row.recipient);
        if (holder !== undefined) keys.push({ ...row, reference: holder.reference });
      }
      return keys;
    });
  }
}
