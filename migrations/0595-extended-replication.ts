import type { MigrationInterface, QueryRunner } from 'typeorm';
import { tenantTable } from '#libs/platform';

/** Extended replication: which chain is carried on to which third site, and how far it is. */
export class ExtendedReplication1700000000595 implements MigrationInterface {
  readonly name = 'ExtendedReplication1700000000595';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create table extended_replication (
        tenant_id uuid not null,
        -- As in Hyper-V Replica a replica has at most one extended one.
        chain_id uuid not null,
        relationship_id uuid not null,
        -- The operator's name of the third site. Where it is and how it is reached stands in the configuration alone.
        site text not null,
        frequency_seconds integer not null,
        suspended_at timestamptz,
        due_at timestamptz not null default now(),
        worker text,
        worker_until timestamptz,
        -- Every position up to this cycle is there.
        carried_cycle text,
        -- When all was looked at that should be there, and not only what is new.
        looked_at timestamptz,
        -- When everything was there for the first time, and for the last.
        initial_at timestamptz,
        whole_at timestamptz,
        pending_manifests integer not null default 0,
        pending_bytes bigint not null default 0,
        carried_objects bigint not null default 0,
        carried_bytes bigint not null default 0,
        failing_since timestamptz,
        failure_kind text,
        failure_code text,
        failure_message text,
        created_at timestamptz not null default now(),
        primary key (tenant_id, chain_id),
        constraint extended_replication_chain foreign key (tenant_id, chain_id) references replica_chain (tenant_id, id),
        constraint extended_replication_relationship foreign key (tenant_id, relationship_id) references replication_relationship (tenant_id, id),
        constraint extended_replication_frequency check (frequency_seconds in (300, 900))
      );
      create index extended_replication_due on extended_replication (due_at) where suspended_at is null;
    `);
    await runner.query(tenantTable('extended_replication', { platform: { holdfast_operator: ['select'], holdfast_worker: ['select'] } }));
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop table extended_replication;`);
  }
}
