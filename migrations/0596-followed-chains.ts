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
      -- A follower that becomes an incarnation above its source's is withheld for that long, and ends it by itself.
      alter table installation drop constraint installation_withheld,
        add constraint installation_withheld check (withheld in ('catalogue.adoption-pending', 'catalogue.superseded', 'catalogue.foreign-store',
                                                                 'catalogue.surpassing'));
    `);
    await runner.query(tenantTable('followed_chain', { platform: { holdfast_operator: ['select'], holdfast_worker: ['select'] } }));
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      drop table followed_chain;
      update installation set withheld = 'catalogue.adoption-pending' where withheld = 'catalogue.surpassing';
      alter table installation drop constraint installation_withheld,
        add constraint installation_withheld check (withheld in ('catalogue.adoption-pending', 'catalogue.superseded', 'catalogue.foreign-store'));
    `);
  }
}
