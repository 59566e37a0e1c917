import type { MigrationInterface, QueryRunner } from 'typeorm';
import { tenantTable } from '#libs/platform';

/** Sweeps too large to be done without the word of operators. */
export class Sweeps1700000000585 implements MigrationInterface {
  readonly name = 'Sweeps1700000000585';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create table chain_sweep (
        tenant_id uuid not null,
        chain_id uuid not null,
        -- Over the names and sizes of all its objects: an approval is of this very sweep.
        digest text not null,
        object_count bigint not null,
        bytes bigint not null,
        -- Of the tenant, at that time.
        stored_bytes bigint not null,
        found_at timestamptz not null default now(),
        -- From the first word on it is found anew no more; after the second it passes, once.
        first_by uuid references operator (id),
        first_at timestamptz,
        second_by uuid references operator (id),
        second_at timestamptz,
        primary key (tenant_id, chain_id),
        constraint chain_sweep_chain foreign key (tenant_id, chain_id) references replica_chain (tenant_id, id),
        constraint chain_sweep_first check ((first_by is null) = (first_at is null)),
        constraint chain_sweep_second check ((second_by is null) = (second_at is null) and (second_by is null or first_by is not null)),
        constraint chain_sweep_four_eyes check (second_by <> first_by)
      );
      create table chain_sweep_object (
        tenant_id uuid not null,
        chain_id uuid not null,
        name text not null,
        primary key (tenant_id, chain_id, name),
        constraint chain_sweep_object_sweep foreign key (tenant_id, chain_id) references chain_sweep (tenant_id, chain_id) on delete cascade
      );
      -- Which cycle brought a segment: asked of thousands at once where something was dissolved.
      create index cycle_segment_of on cycle_segment (tenant_id, chain_id, sha256);
      -- What a tenant lost lately is summed over all its chains.
      create index chain_stray_condemned on chain_stray (tenant_id, condemned_at) where condemned_at is not null;
    `);
    const platform = { holdfast_operator: ['select', 'update'], holdfast_worker: ['select'] } as const;
    await runner.query([tenantTable('chain_sweep', { platform }), tenantTable('chain_sweep_object')].join('\n'));
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop index chain_stray_condemned, cycle_segment_of; drop table chain_sweep_object, chain_sweep;`);
  }
}
