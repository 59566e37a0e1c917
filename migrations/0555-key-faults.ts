import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Whether whoever holds a version of the tenant's key has opened what was wrapped to it, and what was wrong where it did not open. */
export class KeyFaults1700000000555 implements MigrationInterface {
  readonly name = 'KeyFaults1700000000555';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      alter table chain_key
        add column opened_at timestamptz,
        -- The code of the last attempt, where that showed something wrong with this very key; an outage is none.
        add column fault text,
        add column fault_at timestamptz,
        add constraint chain_key_fault check ((fault is null) = (fault_at is null));
      create index chain_key_unopened on chain_key (tenant_id) where opened_at is null;
      create index chain_key_faulty on chain_key (tenant_id, chain_id) where fault is not null;
      grant update (opened_at, fault, fault_at) on chain_key to holdfast_app;
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      revoke update (opened_at, fault, fault_at) on chain_key from holdfast_app;
      alter table chain_key drop column opened_at, drop column fault, drop column fault_at;
    `);
  }
}
