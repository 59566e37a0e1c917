import type { MigrationInterface, QueryRunner } from 'typeorm';
import { tenantTable } from '#libs/platform';

/** Keys that a tenant releases for a failover or an export, and generations that must be begun anew. */
export class KeyGrants1700000000550 implements MigrationInterface {
  readonly name = 'KeyGrants1700000000550';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      alter table replica_chain add column key_generation_min integer not null default 0;

      -- Who wrapped the object: its writer, or at a rotation whoever held the key before.
      alter table chain_key add column wrapped_by text not null default 'writer',
        add constraint chain_key_wrapped_by check (wrapped_by in ('writer', 'holder'));

      -- Its id is that of the failover or export which it is for.
      create table key_request (
        id uuid primary key,
        tenant_id uuid not null,
        kind text not null,
        chain_id uuid not null,
        recovery_point_id uuid not null,
        requested_at timestamptz not null default now(),
        released_at timestamptz,
        constraint key_request_tenant unique (tenant_id, id),
        constraint key_request_kind check (kind in ('failover', 'export')),
        constraint key_request_chain foreign key (tenant_id, chain_id) references replica_chain (tenant_id, id),
        constraint key_request_point foreign key (tenant_id, recovery_point_id) references chain_manifest (tenant_id, id)
      );
      create table key_grant (
        tenant_id uuid not null,
        request_id uuid not null,
        replica_node_id uuid not null references replica_node_identity (id),
        kind text not null,
        generation integer not null,
        wrapped bytea not null,
        granted_at timestamptz not null default now(),
        primary key (tenant_id, request_id, replica_node_id, kind, generation),
        constraint key_grant_kind check (kind in ('data', 'fingerprint')),
        constraint key_grant_request foreign key (tenant_id, request_id) references key_request (tenant_id, id) on delete cascade
      );
    `);
    await runner.query(
      [
        tenantTable('key_request', { platform: { holdfast_worker: ['select', 'delete'], holdfast_operator: ['select'] } }),
        tenantTable('key_grant', { platform: { holdfast_worker: ['select', 'delete'] } }),
        'grant update (wrapped_by), delete on chain_key to holdfast_app;',
      ].join('\n'),
    );
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      drop table key_grant, key_request;
      revoke update (wrapped_by), delete on chain_key from holdfast_app;
      alter table chain_key drop column wrapped_by;
      alter table replica_chain drop column key_generation_min;
    `);
  }
}
