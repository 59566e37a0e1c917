import type { MigrationInterface, QueryRunner } from 'typeorm';
import { platformTable, tenantTable } from '#libs/platform';

/** What replica nodes say of themselves, and which of them owns which replica. */
export class Cluster1700000000400 implements MigrationInterface {
  readonly name = 'Cluster1700000000400';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create table replica_node (
        id uuid primary key references replica_node_identity (id),
        cpus integer not null,
        memory_mib integer not null,
        memory_free_mib integer not null,
        accelerator text not null,
        is_draining boolean not null default false,
        reported_at timestamptz not null default now(),
        constraint replica_node_accelerator check (accelerator in ('kvm', 'tcg'))
      );

      -- Who owns a running replica: one node at a time, for as long as it keeps saying so.
      create table replica_ownership (
        id uuid primary key,
        tenant_id uuid not null references tenant (id),
        failover_id uuid not null,
        replica_node_id uuid not null references replica_node (id),
        memory_mib integer not null,
        lease_expires_at timestamptz not null,
        silent_since timestamptz,
        placed_at timestamptz not null default now(),
        released_at timestamptz,
        constraint replica_ownership_tenant unique (tenant_id, id)
      );
      create unique index replica_ownership_one_owner on replica_ownership (tenant_id, failover_id) where released_at is null;
      create index replica_ownership_of_node on replica_ownership (replica_node_id) where released_at is null;
    `);
    await runner.query(
      [
        platformTable('replica_node', {
          holdfast_receiver: ['select', 'insert', 'update'],
          holdfast_operator: ['select', 'update'],
          holdfast_worker: ['select'],
        }),
        tenantTable('replica_ownership', {
          app: ['select'],
          platform: {
            holdfast_receiver: ['select', 'update'],
            holdfast_worker: ['select', 'insert', 'update'],
            holdfast_operator: ['select'],
          },
        }),
      ].join('\n'),
    );
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop table replica_ownership, replica_node;`);
  }
}
