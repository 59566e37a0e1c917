import type { MigrationInterface, QueryRunner } from 'typeorm';
import { tenantTable } from '#libs/platform';

/** Where a reference to a manifest stands in a row: all of it or nothing. A cycle's number is 16 hex digits, which sort as the numbers do. */
const manifestRef = (prefix: string) => `
  ${prefix}_branch_id uuid,
  ${prefix}_sequence bigint,
  ${prefix}_cycle text,
  ${prefix}_sha256 text,
  ${prefix}_path text,
  constraint ${prefix}_whole check (
    num_nulls(${prefix}_branch_id, ${prefix}_sequence, ${prefix}_cycle, ${prefix}_sha256, ${prefix}_path) in (0, 5))`;

/** VMs, relationships, and the catalogue of replica chains: branches, cycles, segments, manifests, recovery points. */
export class Replication1700000000500 implements MigrationInterface {
  readonly name = 'Replication1700000000500';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create table virtual_machine (
        id uuid primary key,
        tenant_id uuid not null references tenant (id),
        agent_id uuid not null,
        source_id uuid not null,
        name text not null,
        power text not null,
        obstacle text,
        definition jsonb not null,
        reported_at timestamptz not null default now(),
        constraint virtual_machine_tenant unique (tenant_id, id),
        constraint virtual_machine_source unique (tenant_id, source_id),
        constraint virtual_machine_agent foreign key (tenant_id, agent_id) references agent (tenant_id, id),
        constraint virtual_machine_power check (power in ('running', 'paused', 'off', 'unknown'))
      );

      -- The last number given to a cycle of this tenant: nobody can read another's activity from it.
      create table cycle_counter (
        tenant_id uuid primary key references tenant (id),
        counter bigint not null
      );

      -- The row that arbitrates: whoever opens, commits, or changes roles locks it.
      create table replica_chain (
        id uuid primary key,
        tenant_id uuid not null references tenant (id),
        tag text not null,
        epoch_incarnation integer not null default 1,
        epoch_counter bigint not null default 1,
        branch_id uuid not null,
        created_at timestamptz not null default now(),
        constraint replica_chain_tenant unique (tenant_id, id),
        constraint replica_chain_incarnation check (epoch_incarnation between 1 and 65535)
      );
      create table chain_branch (
        id uuid primary key,
        tenant_id uuid not null,
        chain_id uuid not null,
        created_at timestamptz not null default now(),
        ${manifestRef('frozen')},
        ${manifestRef('head')},
        constraint chain_branch_tenant unique (tenant_id, id),
        constraint chain_branch_of_chain unique (tenant_id, chain_id, id),
        constraint chain_branch_chain foreign key (tenant_id, chain_id) references replica_chain (tenant_id, id)
      );
      alter table replica_chain add constraint replica_chain_branch
        foreign key (tenant_id, id, branch_id) references chain_branch (tenant_id, chain_id, id) deferrable initially deferred;

      create table replication_relationship (
        id uuid primary key,
        tenant_id uuid not null,
        vm_id uuid not null,
        agent_id uuid not null,
        chain_id uuid not null,
        storage_location_id uuid not null,
        mode text not null,
        state text not null,
        policy jsonb not null,
        revision integer not null default 1,
        failure_code text,
        failure_message text,
        created_at timestamptz not null default now(),
        removed_at timestamptz,
        constraint replication_relationship_tenant unique (tenant_id, id),
        constraint replication_relationship_vm foreign key (tenant_id, vm_id) references virtual_machine (tenant_id, id),
        constraint replication_relationship_agent foreign key (tenant_id, agent_id) references agent (tenant_id, id),
        constraint replication_relationship_chain foreign key (tenant_id, chain_id) references replica_chain (tenant_id, id),
        constraint replication_relationship_one_chain unique (tenant_id, chain_id),
        constraint replication_relationship_location foreign key (tenant_id, storage_location_id) references storage_location (tenant_id, id)
      );
      create unique index replication_relationship_one_a_vm on replication_relationship (tenant_id, vm_id) where removed_at is null;

      create table replication_cycle (
        id uuid primary key,
        tenant_id uuid not null,
        chain_id uuid not null,
        branch_id uuid not null,
        cycle text not null,
        sequence bigint not null,
        kind text not null,
        manifest_kind text not null,
        state text not null default 'open',
        writer_id uuid not null,
        epoch_incarnation integer not null,
        epoch_counter bigint not null,
        ${manifestRef('parent')},
        lease_expires_at timestamptz not null,
        manifest_sha256 text,
        opened_at timestamptz not null default now(),
        ended_at timestamptz,
        changed_bytes bigint,
        resumed_uploads integer,
        pause_ms double precision,
        duration_ms double precision,
        failure_code text,
        failure_message text,
        constraint replication_cycle_tenant unique (tenant_id, id),
        constraint replication_cycle_number unique (tenant_id, cycle),
        constraint replication_cycle_format check (cycle ~ '^[0-9a-f]{16}$'),
        constraint replication_cycle_branch foreign key (tenant_id, chain_id, branch_id) references chain_branch (tenant_id, chain_id, id),
        constraint replication_cycle_state check (state in ('open', 'committed', 'voided', 'failed')),
        constraint replication_cycle_manifest_kind check (manifest_kind in ('staging', 'point'))
      );
      create unique index replication_cycle_one_open on replication_cycle (tenant_id, branch_id) where state = 'open';
      create index replication_cycle_recent on replication_cycle (tenant_id, chain_id, opened_at desc);

      create table chain_segment (
        tenant_id uuid not null,
        chain_id uuid not null,
        sha256 text not null,
        size_bytes integer not null,
        footer_bytes integer not null,
        record_count integer not null,
        plain_bytes bigint not null,
        first_disk integer not null,
        first_block integer not null,
        last_disk integer not null,
        last_block integer not null,
        created_at timestamptz not null default now(),
        doomed_at timestamptz,
        primary key (tenant_id, chain_id, sha256),
        constraint chain_segment_chain foreign key (tenant_id, chain_id) references replica_chain (tenant_id, id)
      );
      create table cycle_segment (
        tenant_id uuid not null,
        cycle_id uuid not null,
        chain_id uuid not null,
        sha256 text not null,
        primary key (tenant_id, cycle_id, sha256),
        constraint cycle_segment_cycle foreign key (tenant_id, cycle_id) references replication_cycle (tenant_id, id),
        constraint cycle_segment_segment foreign key (tenant_id, chain_id, sha256) references chain_segment (tenant_id, chain_id, sha256)
      );

      create table cycle_list (
        tenant_id uuid not null,
        cycle_id uuid not null,
        sha256 text not null,
        entry_count integer not null,
        primary key (tenant_id, cycle_id, sha256),
        constraint cycle_list_cycle foreign key (tenant_id, cycle_id) references replication_cycle (tenant_id, id)
      );

      create table chain_key (
        tenant_id uuid not null,
        chain_id uuid not null,
        kind text not null,
        generation integer not null,
        recipient text not null,
        writer_id uuid not null,
        created_at timestamptz not null default now(),
        primary key (tenant_id, chain_id, kind, generation, recipient),
        constraint chain_key_chain foreign key (tenant_id, chain_id) references replica_chain (tenant_id, id),
        constraint chain_key_kind check (kind in ('data', 'fingerprint'))
      );

      -- One row for each committed cycle; it stays while a path needs it, also when its point is gone.
      create table chain_manifest (
        id uuid primary key,
        tenant_id uuid not null,
        chain_id uuid not null,
        branch_id uuid not null,
        sequence bigint not null,
        cycle text not null,
        sha256 text not null,
        path text not null,
        kind text not null,
        ${manifestRef('parent')},
        epoch_incarnation integer not null,
        epoch_counter bigint not null,
        instant timestamptz not null,
        consistency text not null,
        definition jsonb not null,
        sent_bytes bigint not null,
        committed_at timestamptz not null default now(),
        constraint chain_manifest_tenant unique (tenant_id, id),
        constraint chain_manifest_sequence unique (tenant_id, branch_id, sequence),
        constraint chain_manifest_cycle unique (tenant_id, cycle),
        constraint chain_manifest_branch foreign key (tenant_id, chain_id, branch_id) references chain_branch (tenant_id, chain_id, id),
        constraint chain_manifest_kind check (kind in ('staging', 'point'))
      );
      create index chain_manifest_order on chain_manifest (tenant_id, chain_id, committed_at);

      create table recovery_point (
        id uuid primary key,
        tenant_id uuid not null,
        chain_id uuid not null,
        committed_at timestamptz not null,
        constraint recovery_point_tenant unique (tenant_id, id),
        constraint recovery_point_manifest foreign key (tenant_id, id) references chain_manifest (tenant_id, id)
      );
      create index recovery_point_newest on recovery_point (tenant_id, chain_id, committed_at desc);

      create table point_export (
        id uuid primary key,
        tenant_id uuid not null,
        recovery_point_id uuid not null,
        disk_ordinal integer not null,
        format text not null,
        base_export_id uuid,
        state text not null,
        file_name text not null,
        object_key text not null,
        size_bytes bigint,
        sha256 text,
        unique_id uuid,
        timestamp_seconds bigint,
        failure_code text,
        failure_message text,
        created_at timestamptz not null default now(),
        constraint point_export_tenant unique (tenant_id, id),
        constraint point_export_point foreign key (tenant_id, recovery_point_id) references chain_manifest (tenant_id, id),
        constraint point_export_base foreign key (tenant_id, base_export_id) references point_export (tenant_id, id),
        constraint point_export_state check (state in ('Queued', 'InProgress', 'Completed', 'Failed'))
      );
    `);
    const seen = { platform: { holdfast_operator: ['select'], holdfast_worker: ['select'] } } as const;
    const append = { app: ['select', 'insert'], ...seen } as const;
    const kept = { app: ['select', 'insert', 'update'], ...seen } as const;
    await runner.query(
      [
        tenantTable('virtual_machine', kept),
        tenantTable('cycle_counter', { app: ['select', 'insert', 'update'] }),
        tenantTable('replica_chain', kept),
        tenantTable('chain_branch', kept),
        tenantTable('replication_relationship', kept),
        tenantTable('replication_cycle', kept),
        tenantTable('chain_segment', kept),
        tenantTable('cycle_segment', append),
        tenantTable('cycle_list', append),
        tenantTable('chain_key', append),
        tenantTable('chain_manifest', append),
        tenantTable('recovery_point', append),
        tenantTable('point_export', { app: ['select', 'insert', 'update', 'delete'], ...seen }),
      ].join('\n'),
    );
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      alter table replica_chain drop constraint replica_chain_branch;
      drop table point_export, recovery_point, chain_manifest, chain_key, cycle_list, cycle_segment, chain_segment, replication_cycle, replication_relationship,
        chain_branch, replica_chain, cycle_counter, virtual_machine;
    `);
  }
}
