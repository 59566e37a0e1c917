import type { MigrationInterface, QueryRunner } from 'typeorm';
import { tenantTable } from '#libs/platform';

/** Recovery history: pins, promises of immutability, and what retention did to each chain. */
export class Retention1700000000510 implements MigrationInterface {
  readonly name = 'Retention1700000000510';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      alter table recovery_point
        add column immutable_until timestamptz,
        add column pinned_at timestamptz,
        add column pin_note text,
        add constraint recovery_point_pin check (num_nulls(pinned_at, pin_note) in (0, 2));

      -- The promise holds against every role and every mistake in a query: it is never shortened, and the row outlives it.
      create function guard_recovery_point() returns trigger language plpgsql as $$
      begin
        if tg_op = 'DELETE' then
          if old.immutable_until > now() then
            raise exception 'recovery point % cannot be removed before %', old.id, old.immutable_until using errcode = 'restrict_violation';
          end if;
          return old;
        end if;
        if old.immutable_until is not null and (new.immutable_until is null or new.immutable_until < old.immutable_until) then
          raise exception 'recovery point % was promised to stay until %', old.id, old.immutable_until using errcode = 'restrict_violation';
        end if;
        return new;
      end $$;
      create trigger recovery_point_guard before update or delete on recovery_point for each row execute function guard_recovery_point();

      create index recovery_point_promised on recovery_point (immutable_until, tenant_id, chain_id) where immutable_until is not null;

      -- When the policy was last applied, and up to when the objects of a chain are locked in the store.
      create table chain_retention (
        tenant_id uuid not null,
        chain_id uuid not null,
        applied_at timestamptz,
        removed_points bigint not null default 0,
        locked_until timestamptz,
        objects_locked_at timestamptz,
        primary key (tenant_id, chain_id),
        constraint chain_retention_chain foreign key (tenant_id, chain_id) references replica_chain (tenant_id, id)
      );

      grant update (immutable_until, pinned_at, pin_note), delete on recovery_point to holdfast_app;
    `);
    const platform = { holdfast_operator: ['select'], holdfast_worker: ['select'] } as const;
    await runner.query(tenantTable('chain_retention', { app: ['select', 'insert', 'update'], platform }));
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      drop table chain_retention;
      drop trigger recovery_point_guard on recovery_point;
      drop function guard_recovery_point;
      revoke update (immutable_until, pinned_at, pin_note), delete on recovery_point from holdfast_app;
      drop index recovery_point_promised;
      alter table recovery_point drop column immutable_until, drop column pinned_at, drop column pin_note;
    `);
  }
}
