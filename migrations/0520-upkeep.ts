import type { MigrationInterface, QueryRunner } from 'typeorm';
import { platformTable, tenantTable } from '#libs/platform';

/** Upkeep of the chains: what stands where in the store, who reads it, and what is to be deleted. */
export class Upkeep1700000000520 implements MigrationInterface {
  readonly name = 'Upkeep1700000000520';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      -- Whose database this is, and which of its states: an older one that was restored begins a new incarnation. One row.
      create table installation (
        id uuid primary key,
        incarnation integer not null default 1,
        -- The incarnation whose stamp is in the store. One that is gone from there is not put back by itself.
        stamped_incarnation integer,
        constraint installation_incarnation check (incarnation between 1 and 65535)
      );
      insert into installation (id) values (gen_random_uuid());

      -- A segment is uploaded, then listed by a manifest; or compaction made it. A listed one's row outlives its object: it says where its records are.
      alter table chain_segment
        add column footer_sha256 text not null,
        add column role text not null default 'uploaded',
        add column replaced_by text[],
        add column condemned_at timestamptz,
        add constraint chain_segment_role check (role in ('uploaded', 'listed', 'compacted')),
        add constraint chain_segment_replaced check (replaced_by is null or (role = 'listed' and doomed_at is not null)),
        add constraint chain_segment_condemned check (condemned_at is null or doomed_at is not null);
      create index chain_segment_doomed on chain_segment (tenant_id, chain_id, doomed_at) where doomed_at is not null and condemned_at is null;
      create index chain_segment_replaced_by on chain_segment using gin (replaced_by) where replaced_by is not null;

      create table chain_upkeep (
        tenant_id uuid not null,
        chain_id uuid not null,
        revision bigint not null default 0,
        written_bytes bigint not null default 0,
        worker text,
        worker_until timestamptz,
        maintained_at timestamptz,
        collected_at timestamptz,
        failure_code text,
        failure_message text,
        primary key (tenant_id, chain_id),
        constraint chain_upkeep_chain foreign key (tenant_id, chain_id) references replica_chain (tenant_id, id)
      );

      create table chain_lease (
        tenant_id uuid not null,
        chain_id uuid not null,
        id uuid not null,
        cycle text not null,
        holder text not null,
        -- When the reader was told where everything is: what was doomed since then stays for it.
        resolved_at timestamptz not null default now(),
        -- Null while a VM runs on the view.
        expires_at timestamptz,
        primary key (tenant_id, chain_id, id),
        constraint chain_lease_chain foreign key (tenant_id, chain_id) references replica_chain (tenant_id, id)
      );

      create table chain_index (
        tenant_id uuid not null,
        chain_id uuid not null,
        sha256 text not null,
        size_bytes integer not null,
        first_position bigint not null,
        last_position bigint not null,
        last_cycle text not null,
        branch_id uuid not null,
        bytes bigint not null,
        parts text[] not null,
        created_at timestamptz not null default now(),
        doomed_at timestamptz,
        primary key (tenant_id, chain_id, sha256),
        constraint chain_index_chain foreign key (tenant_id, chain_id) references replica_chain (tenant_id, id)
      );

      -- What a census counted: the layers after one kept position up to the next, and how much of each segment shows there.
      create table chain_bucket (
        tenant_id uuid not null,
        chain_id uuid not null,
        end_cycle text not null,
        start_cycle text,
        counted_at timestamptz not null default now(),
        primary key (tenant_id, chain_id, end_cycle),
        constraint chain_bucket_chain foreign key (tenant_id, chain_id) references replica_chain (tenant_id, id)
      );
      create table bucket_segment (
        tenant_id uuid not null,
        chain_id uuid not null,
        end_cycle text not null,
        sha256 text not null,
        live_bytes bigint not null,
        primary key (tenant_id, chain_id, end_cycle, sha256),
        constraint bucket_segment_bucket foreign key (tenant_id, chain_id, end_cycle)
          references chain_bucket (tenant_id, chain_id, end_cycle) on delete cascade
      );
      create index bucket_segment_of on bucket_segment (tenant_id, chain_id, sha256);

      create table chain_snapshot (
        tenant_id uuid not null,
        chain_id uuid not null,
        sequence bigint not null,
        sha256 text not null,
        since bigint not null,
        created_at timestamptz not null default now(),
        primary key (tenant_id, chain_id, sequence),
        constraint chain_snapshot_chain foreign key (tenant_id, chain_id) references replica_chain (tenant_id, id)
      );

      -- Objects that no other row stands for: about to be written, seen in the store, to be deleted, or deleted a short while ago.
      create table chain_stray (
        tenant_id uuid not null,
        chain_id uuid not null,
        name text not null,
        size_bytes bigint not null default 0,
        held_until timestamptz,
        sighted_at timestamptz,
        condemned_at timestamptz,
        deleted_at timestamptz,
        primary key (tenant_id, chain_id, name),
        constraint chain_stray_chain foreign key (tenant_id, chain_id) references replica_chain (tenant_id, id),
        constraint chain_stray_deleted check (deleted_at is null or condemned_at is not null)
      );
    `);
    const platform = { holdfast_operator: ['select'], holdfast_worker: ['select'] } as const;
    await runner.query(
      [
        ...['chain_upkeep', 'chain_lease', 'chain_index', 'chain_bucket', 'bucket_segment', 'chain_snapshot', 'chain_stray'].map((table) =>
          tenantTable(table, { platform }),
        ),
        platformTable('installation', { holdfast_worker: ['select', 'update'], holdfast_operator: ['select'] }),
      ].join('\n'),
    );
    // What cycles left over, and what compaction made, is forgotten in the end.
    await runner.query(`grant delete on chain_segment, cycle_segment to holdfast_app`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      revoke delete on chain_segment, cycle_segment from holdfast_app;
      drop table chain_stray, chain_snapshot, bucket_segment, chain_bucket, chain_index, chain_lease, chain_upkeep, installation;
      alter table chain_segment drop column footer_sha256, drop column role, drop column replaced_by, drop column condemned_at;
    `);
  }
}
