import type { MigrationInterface, QueryRunner } from 'typeorm';
import { platformTable, WORKER_ROLE } from '#libs/platform';

/** Who holds a tenant's keys, and how a tenant is taken away: asked for, held, confirmed by a second operator, destroyed. */
export class TenantLifecycle1700000000210 implements MigrationInterface {
  readonly name = 'TenantLifecycle1700000000210';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      alter table tenant
        add column key_holder text not null default 'provider',
        add constraint tenant_key_holder check (key_holder in ('provider', 'tenant')),
        drop constraint tenant_state,
        add constraint tenant_state check (state in ('active', 'suspended', 'deleting', 'deleted'));
      grant update (key_holder) on tenant to holdfast_app;

      -- Four eyes stand in the database: no row says that whoever asked has confirmed.
      create table tenant_deletion (
        tenant_id uuid primary key references tenant (id),
        requested_by uuid not null references operator (id),
        requested_at timestamptz not null default now(),
        hold_until timestamptz not null,
        confirmed_by uuid references operator (id),
        confirmed_at timestamptz,
        destroyed_at timestamptz,
        constraint tenant_deletion_four_eyes check (confirmed_by <> requested_by),
        constraint tenant_deletion_confirmed check ((confirmed_by is null) = (confirmed_at is null)),
        constraint tenant_deletion_destroyed check (destroyed_at is null or (confirmed_at is not null and destroyed_at >= hold_until))
      );
      ${platformTable('tenant_deletion', {
        holdfast_operator: ['select', 'insert', 'update', 'delete'],
        [WORKER_ROLE]: ['select', 'update'],
      })}
      create policy tenant_worker_update on tenant for update to ${WORKER_ROLE} using (true) with check (true);
      grant update (state) on tenant to ${WORKER_ROLE};
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      drop table tenant_deletion;
      drop policy tenant_worker_update on tenant;
      revoke update (state) on tenant from ${WORKER_ROLE};
      revoke update (key_holder) on tenant from holdfast_app;
      alter table tenant drop column key_holder,
        drop constraint tenant_state,
        add constraint tenant_state check (state in ('active', 'suspended'));
    `);
  }
}
