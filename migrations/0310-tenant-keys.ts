import type { MigrationInterface, QueryRunner } from 'typeorm';
import { platformAccess, tenantTable } from '#libs/platform';

/** Versions of tenant keys, whoever holds them; what the provider attests of replica nodes; another key-encryption key. */
export class TenantKeys1700000000310 implements MigrationInterface {
  readonly name = 'TenantKeys1700000000310';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      alter table tenant_key
        add column version integer not null default 1,
        add column holder text not null default 'provider',
        add column succession bytea,
        add column retired_at timestamptz,
        add column destroyed_at timestamptz,
        alter column reference drop not null,
        drop constraint tenant_key_state,
        add constraint tenant_key_state check (state in ('active', 'retired', 'destroyed')),
        add constraint tenant_key_holder check (holder in ('provider', 'tenant') and (holder = 'provider') = (reference is not null)),
        add constraint tenant_key_destroyed check ((state = 'destroyed') = (destroyed_at is not null)),
        add constraint tenant_key_version unique (tenant_id, version);

      alter table replica_node_identity add column unwrapping_attestation bytea;

      create table key_policy (
        tenant_id uuid primary key references tenant (id),
        data_key_days integer,
        constraint key_policy_days check (data_key_days between 1 and 3650)
      );
    `);
    await runner.query(
      [
        tenantTable('key_policy', { app: ['select', 'insert', 'update'], platform: { holdfast_worker: ['select'] } }),
        platformAccess('tenant_key', 'holdfast_worker', ['select', 'update']),
        platformAccess('tenant_authority', 'holdfast_worker', ['select', 'update']),
        platformAccess('provider_authority', 'holdfast_worker', ['update']),
      ].join('\n'),
    );
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      drop policy provider_authority_worker_update on provider_authority;
      drop policy tenant_authority_worker_update on tenant_authority;
      drop policy tenant_authority_worker_select on tenant_authority;
      drop policy tenant_key_worker_update on tenant_key;
      drop policy tenant_key_worker_select on tenant_key;
      revoke update on provider_authority from holdfast_worker;
      revoke select, update on tenant_authority, tenant_key from holdfast_worker;
      drop table key_policy;
      alter table replica_node_identity drop column unwrapping_attestation;
      alter table tenant_key drop column version, drop column holder, drop column succession, drop column retired_at, drop column destroyed_at;
    `);
  }
}
