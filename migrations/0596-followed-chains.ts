import type { MigrationInterface, QueryRunner } from 'typeorm';
import { tenantTable } from '#libs/platform';

/** Chains that another installation carries to this one's store: they are read here, and written there. */
export class FollowedChains1700000000596 implements MigrationInterface {
  readonly name = 'FollowedChains1700000000596';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create table followed_chain (
        tenant_id uuid not null,
        chain_id uuid not null,
        -- The installation that writes it.
        source_id uuid not null,
        adopted_at timestamptz not null default now(),
        primary key (tenant_id, chain_id),
        constraint followed_chain_chain foreign key (tenant_id, chain_id) references replica_chain (tenant_id, id)
      );
    `);
    await runner.query(tenantTable('followed_chain', { platform: { holdfast_operator: ['select'], holdfast_worker: ['select'] } }));
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop table followed_chain;`);
  }
}
