import { newId, type TenantId } from '#libs/kernel';
import type { TestDatabase } from './database.js';
import { seedProtectedVm, type SeededVm } from './seed.js';

const HISTORY = 48;
const hex = (digit: string): string => digit.repeat(64);

/** A tenant's site with a bit of everything that the portal shows: a well VM with a history, sick ones, unprotected ones. */
export async function seedSite(database: TestDatabase, tenantId: TenantId): Promise<SeededVm> {
  const run = (sql: string, params: readonly unknown[]) => database.asSuperuser(sql, params);
  const vm = await seedProtectedVm(database, tenantId, { vmName: 'sql-01', points: HISTORY });
  // A cycle every five minutes or so, with the ups and downs of a working day.
  await run(
    `update replication_cycle set
       opened_at = now() - interval '80 seconds' - ($2 - 1 - sequence) * interval '5 minutes' - (sequence % 5) * interval '9 seconds',
       changed_bytes = (40 + 36 * sin(sequence / 4.0) + (sequence * 7) % 13) * 1048576,
       pause_ms = 3 + (sequence * 5) % 4
     where tenant_id = $1`,
    [tenantId, HISTORY],
  );
  await run(
    `update replication_cycle set ended_at = opened_at + interval '9 seconds' + (sequence % 6) * interval '4 seconds' where tenant_id = $1`,
    [tenantId],
  );
  await run(`update replication_cycle set duration_ms = extract(epoch from ended_at - opened_at) * 1000 where tenant_id = $1`, [tenantId]);
  await run(
    `update chain_manifest m set instant = c.opened_at, committed_at = c.ended_at, sent_bytes = c.changed_bytes / 3
       from replication_cycle c where c.tenant_id = m.tenant_id and c.cycle = m.cycle and m.tenant_id = $1`,
    [tenantId],
  );
  await run(`update recovery_point p set committed_at = m.committed_at from chain_manifest m where m.id = p.id and p.tenant_id = $1`, [
    tenantId,
  ]);
  await run(
    `with segment as (
       insert into chain_segment (tenant_id, chain_id, sha256, size_bytes, footer_bytes, footer_sha256, record_count, plain_bytes,
                                  first_disk, first_block, last_disk, last_block)
         select tenant_id, chain_id, rpad(md5(id::text), 64, '0'), changed_bytes / (2 + sequence % 3), 100, rpad('', 64, '0'), 1, changed_bytes, 0, 0, 0, 1
           from replication_cycle where tenant_id = $1)
     select 1`,
    [tenantId],
  );
  await run(
    `insert into cycle_segment (tenant_id, cycle_id, chain_id, sha256)
       select tenant_id, id, chain_id, rpad(md5(id::text), 64, '0') from replication_cycle where tenant_id = $1`,
    [tenantId],
  );
  await run(
    `update virtual_machine set name = 'jump-host', obstacle = 'its disk is shared with another VM' where tenant_id = $1 and id = $2`,
    [tenantId, vm.unprotectedVmId],
  );
  const another = (name: string): Promise<string> => addVm(database, tenantId, vm, name);
  await another('build-agent');
  await protect(database, tenantId, vm, await another('erp-app'), 'Error', ['segment.hash-mismatch', 'a segment does not match its hash']);
  await protect(database, tenantId, vm, await another('file-server'), 'Suspended');
  await run(
    `insert into audit_event (id, tenant_id, seq, at, actor_kind, actor_name, action, outcome, details, prev_hash, hash)
       select $2, $1, coalesce(max(seq), 0) + 1, now() - interval '4 minutes', 'agent', 'hv09.fabrikam.example', 'replication.cycle-open', 'refused',
              '{"code": "authorization.tag"}', '', decode(md5('refused'), 'hex') from audit_event where tenant_id = $1`,
    [tenantId, newId()],
  );
  return vm;
}

/** One segment of an old point cannot be read any more, as scrub and a check found; and the points are being published. The answer mends it. */
export async function damagePoint(database: TestDatabase, tenantId: TenantId, { relationshipId, chainId, pointIds }: SeededVm) {
  const run = (sql: string, params: readonly unknown[]) => database.asSuperuser(sql, params);
  const [pointId, object] = [pointIds[5]!, `s/${hex('c')}`];
  await run(
    `insert into chain_damage (tenant_id, chain_id, name, kind, code, message, positions, assessed_to, blocks)
       select tenant_id, chain_id, $3, 'segment', 'segment.hash-mismatch', 'it does not match its hash', array[cycle], cycle, '[]'
         from chain_manifest where tenant_id = $1 and id = $2`,
    [tenantId, pointId, object],
  );
  const found = { kind: 'segment', object, code: 'segment.hash-mismatch', message: 'it does not match its hash', pointIds: [pointId] };
  await run(
    `insert into chain_check (id, tenant_id, relationship_id, chain_id, with_bytes, state, checked_objects, checked_bytes, total_objects, total_bytes,
                              damage, created_at, ended_at)
       values ($1, $2, $3, $4, true, 'Completed', 212, 1181116006, 212, 1181116006, $5, now() - interval '2 hours', now() - interval '2 hours')`,
    [newId(), tenantId, relationshipId, chainId, JSON.stringify([found])],
  );
  await run(
    `insert into publication (id, tenant_id, relationship_id, chain_id, format, points, follow, waiting_count)
       values ($1, $2, $3, $4, 'vhdx', '{"kind": "tier", "everyMinutes": 1440, "forMinutes": 43200}', true, 3)`,
    [newId(), tenantId, relationshipId, chainId],
  );
  return { mend: () => run(`delete from chain_damage where tenant_id = $1 and chain_id = $2`, [tenantId, chainId]) };
}

/** Carried on to a third site, which is a few points behind. */
export async function carryOn(database: TestDatabase, tenantId: TenantId, { relationshipId, chainId, pointIds }: SeededVm): Promise<void> {
  await database.asSuperuser(
    `insert into extended_replication (tenant_id, chain_id, relationship_id, site, frequency_seconds, carried_cycle, initial_at, whole_at, pending_manifests,
                                       pending_bytes)
       select tenant_id, chain_id, $4, 'berlin', 900, cycle, now() - interval '3 days', now() - interval '9 minutes', 2, 31457280
         from chain_manifest where tenant_id = $1 and chain_id = $2 and id = $3`,
    [tenantId, chainId, pointIds.at(-3), relationshipId],
  );
}

async function addVm(database: TestDatabase, tenantId: TenantId, like: SeededVm, name: string): Promise<string> {
  const id = newId();
  await database.asSuperuser(
    `insert into virtual_machine (id, tenant_id, agent_id, source_id, name, power, definition)
       select $3, tenant_id, agent_id, $4, $5, 'running', definition from virtual_machine where tenant_id = $1 and id = $2`,
    [tenantId, like.vmId, id, newId(), name],
  );
  return id;
}

async function protect(
  database: TestDatabase,
  tenantId: TenantId,
  like: SeededVm,
  vmId: string,
  state: string,
  failure: readonly [code: string, message: string] | null = null,
): Promise<void> {
  const [chainId, branchId] = [newId(), newId()];
  await database.asSuperuser(
    `with chain as (insert into replica_chain (id, tenant_id, tag, branch_id) values ($1, $2, 'tag-a', $3))
     insert into chain_branch (id, tenant_id, chain_id) values ($3, $2, $1)`,
    [chainId, tenantId, branchId],
  );
  await database.asSuperuser(
    `insert into replication_relationship (id, tenant_id, vm_id, agent_id, chain_id, storage_location_id, mode, state, policy, failure_code, failure_message)
       select $3, tenant_id, $4, agent_id, $5, storage_location_id, 'Primary', $6, policy, $7, $8
         from replication_relationship where tenant_id = $1 and id = $2`,
    [tenantId, like.relationshipId, newId(), vmId, chainId, state, failure?.[0] ?? null, failure?.[1] ?? null],
  );
}

/** Two replica nodes, one of them silent, and a receiver. Returns the node that works. */
export async function seedCluster(database: TestDatabase): Promise<string> {
  const [first, second] = [newId(), newId()];
  for (const [id, name, seenAt] of [
    [first, 'node-1.provider.test', '2 seconds'],
    [second, 'node-2.provider.test', '2 hours'],
  ] as const) {
    await database.asSuperuser(
      `with identity as (
         insert into replica_node_identity (id, fqdn, certificate_sha256, certificate_serial, certificate_not_after, issuer_sha256, signing_key,
                                            unwrapping_key, version, last_seen_at)
         values ($1, $2, $3, '01', now() + interval '1 day', $3, '', '', '0.1.0', now() - $4::interval))
       select 1`,
      [id, name, hex('b'), seenAt],
    );
    await database.asSuperuser(
      `insert into replica_node (id, cpus, memory_mib, memory_free_mib, accelerator, reported_at) values ($1, 16, 65536, 41000, 'kvm', now() - $2::interval)`,
      [id, seenAt],
    );
  }
  await database.asSuperuser(
    `insert into receiver (id, name, url, version, started_at, connections, uploads, received_bytes)
     values ($1, 'receiver-1', 'https://receiver-1.provider.test:8443', '0.1.0', now() - interval '3 hours', 4, 1, 18253611008)`,
    [newId()],
  );
  return first;
}

/** Everything that is up says so again, as it would every few seconds. */
export async function heartBeat(database: TestDatabase): Promise<void> {
  await database.asSuperuser(`update agent set last_seen_at = now()`);
  await database.asSuperuser(`update receiver set last_seen_at = now()`);
  await database.asSuperuser(`update replica_node set reported_at = now() where reported_at > now() - interval '1 hour'`);
}

/** What worker and replica node would have written when the VM is up: every step done, its console, a picture of it. */
export async function bringUp(database: TestDatabase, failoverId: string, nodeId: string, screenshot: Buffer): Promise<void> {
  await database.asSuperuser(
    `update saga_step set state = 'succeeded', started_at = now() - interval '9 seconds' + position * interval '1500 milliseconds',
                          finished_at = now() - interval '9 seconds' + (position + 1) * interval '1500 milliseconds' where saga_id = $1`,
    [failoverId],
  );
  await database.asSuperuser(`update saga set status = 'succeeded', finished_at = now() where id = $1`, [failoverId]);
  await database.asSuperuser(
    `update failover set state = 'Running', replica_node_id = $2, requested_at = now() - interval '9 seconds', up_at = now() - interval '1 second',
                         boot_ms = 6210, boot_proof = 'console-pattern', console = $3, screenshot = $4 where id = $1`,
    [failoverId, nodeId, CONSOLE, screenshot],
  );
}

const CONSOLE = `[    0.000000] Linux version 6.1.0-cloud-amd64
[    1.214311] virtio_blk virtio0: [vda] 2097152 512-byte logical blocks
[    1.981220] EXT4-fs (vda1): recovery complete
[    2.004127] EXT4-fs (vda1): mounted filesystem with ordered data mode
sql-01 login: counter 18204 at 10:14:07
counter 18205 at 10:14:08
`;
