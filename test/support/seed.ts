import { newId, type AgentId, type TenantId } from '#libs/kernel';
import type { VmDefinition } from '#libs/contracts/common';
import { replicationPolicy } from '#libs/contracts/wire';
import type { TestDatabase } from './database.js';

/** Rows of one protected VM, made past the protocol: for tests of what people see, where no agent runs. */
export interface SeededVm {
  readonly agentId: AgentId;
  readonly vmId: string;
  readonly unprotectedVmId: string;
  readonly relationshipId: string;
  readonly chainId: string;
  readonly branchId: string;
  /** Oldest first. */
  readonly pointIds: readonly string[];
  readonly exportId: string;
}

export type SeededDatabase = Pick<TestDatabase, 'asSuperuser'>;

export interface SeedOptions {
  readonly vmName?: string;
  /** One a minute until now. Default 3. */
  readonly points?: number;
  readonly state?: string;
}

const hex = (digit: string): string => digit.repeat(64);
const DISK = { ordinal: 0, name: 'system', sizeBytes: 2 ** 30, bus: 'virtio', bootOrder: 1 } as const;

const definition = (name: string): VmDefinition => ({
  sourceId: newId(),
  name,
  machine: 'pc',
  cpuCount: 2,
  cpuModel: 'max',
  memoryBytes: 2 ** 30,
  firmware: 'bios',
  secureBoot: false,
  clock: 'utc',
  disks: [DISK],
  adapters: [],
  nvramBytes: 0,
  tpmBytes: 0,
});

export async function seedProtectedVm(database: SeededDatabase, tenantId: TenantId, options: SeedOptions = {}): Promise<SeededVm> {
  const { vmName = 'web-1', points = 3, state = 'Replicating' } = options;
  const run = (sql: string, params: readonly unknown[]) => database.asSuperuser(sql, params);
  const agentId = newId<AgentId>();
  const [vmId, unprotectedVmId, relationshipId, chainId, branchId, locationId] = [newId(), newId(), newId(), newId(), newId(), newId()];
  await run(
    `insert into agent (id, tenant_id, fqdn, tag, certificate_sha256, certificate_serial, certificate_not_after, issuer_sha256, signing_key,
                        unwrapping_key, version, last_seen_at)
     values ($1, $2, 'hv01.contoso.example', 'tag-a', $3, '01', now() + interval '1 day', $3, '', '', '0.1.0', now())`,
    [agentId, tenantId, hex('a')],
  );
  for (const [id, name] of [
    [vmId, vmName],
    [unprotectedVmId, `${vmName}-lab`],
  ] as const) {
    const vm = definition(name);
    await run(
      `insert into virtual_machine (id, tenant_id, agent_id, source_id, name, power, definition) values ($1, $2, $3, $4, $5, 'running', $6)`,
      [id, tenantId, agentId, vm.sourceId, vm.name, JSON.stringify(vm)],
    );
  }
  await run(`insert into storage_location (id, tenant_id, name) values ($1, $2, 'seeded')`, [locationId, tenantId]);
  // One statement, since chain and branch refer to each other.
  await run(
    `with chain as (insert into replica_chain (id, tenant_id, tag, branch_id) values ($1, $2, 'tag-a', $3))
     insert into chain_branch (id, tenant_id, chain_id) values ($3, $2, $1)`,
    [chainId, tenantId, branchId],
  );
  await run(
    `insert into replication_relationship (id, tenant_id, vm_id, agent_id, chain_id, storage_location_id, mode, state, policy)
     values ($1, $2, $3, $4, $5, $6, 'Primary', $7, $8)`,
    [relationshipId, tenantId, vmId, agentId, chainId, locationId, state, JSON.stringify(replicationPolicy.parse({}))],
  );
  const pointIds: string[] = [];
  for (let sequence = 0; sequence < points; sequence += 1) {
    pointIds.push(await seedPoint(database, { tenantId, chainId, branchId, agentId, sequence, ageMinutes: points - 1 - sequence }));
  }
  const exportId = newId();
  await run(
    `insert into point_export (id, tenant_id, recovery_point_id, disk_ordinal, format, state, file_name, object_key)
     values ($1, $2, $3, 0, 'raw', 'Queued', 'web-1.raw', 'none')`,
    [exportId, tenantId, pointIds.at(-1)],
  );
  return { agentId, vmId, unprotectedVmId, relationshipId, chainId, branchId, pointIds, exportId };
}

interface PointSeed {
  readonly tenantId: string;
  readonly chainId: string;
  readonly branchId: string;
  readonly agentId: string;
  readonly sequence: number;
  readonly ageMinutes: number;
}

async function seedPoint(database: SeededDatabase, point: PointSeed): Promise<string> {
  const id = newId();
  const cycle = (2n ** 48n + BigInt(point.sequence + 1)).toString(16).padStart(16, '0');
  const sha256 = hex((point.sequence % 10).toString());
  const at = `now() - ${point.ageMinutes} * interval '1 minute'`;
  const { vm, disks } = { vm: { ...definition('web-1'), disks: undefined, sourceId: undefined }, disks: [DISK] };
  await database.asSuperuser(
    `insert into replication_cycle (id, tenant_id, chain_id, branch_id, cycle, sequence, kind, manifest_kind, state, writer_id, epoch_incarnation,
                                    epoch_counter, lease_expires_at, opened_at, ended_at, changed_bytes, resumed_uploads, pause_ms, duration_ms)
     values ($1, $2, $3, $4, $5, $6, 'delta', 'point', 'committed', $7, 1, 1, ${at}, ${at} - interval '4 seconds', ${at}, $8, 0, 4.2, 3900)`,
    [
      newId(),
      point.tenantId,
      point.chainId,
      point.branchId,
      cycle,
      point.sequence,
      point.agentId,
      (point.sequence % 7) * 3_000_000 + 5_000_000,
    ],
  );
  await database.asSuperuser(
    `with manifest as (
       insert into chain_manifest (id, tenant_id, chain_id, branch_id, sequence, cycle, sha256, path, kind, epoch_incarnation, epoch_counter, instant,
                                   consistency, definition, sent_bytes, committed_at)
       values ($1, $2, $3, $4, $5, $6, $7, $7, 'point', 1, 1, ${at}, 'crash', $8, 2500000, ${at}) returning id, tenant_id, chain_id, committed_at)
     insert into recovery_point (id, tenant_id, chain_id, committed_at) select id, tenant_id, chain_id, committed_at from manifest`,
    [id, point.tenantId, point.chainId, point.branchId, point.sequence, cycle, sha256, JSON.stringify({ vm, disks })],
  );
  return id;
}
