import type { MigrationInterface, QueryRunner } from 'typeorm';
import { LOGIN_ROLES, tenantTable } from '#libs/platform';

/** What every feature stands on: the tenant of a transaction, the outbox, sagas, remembered answers. */
export class Platform1700000000100 implements MigrationInterface {
  readonly name = 'Platform1700000000100';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      -- The tenant of this transaction. It raises instead of answering null: a policy that shows nothing would let a
      -- sweep believe that nothing is referenced. After a transaction the setting is '', not null.
      create function current_tenant() returns uuid language plpgsql stable parallel safe as $$
      declare
        setting text := nullif(current_setting('app.tenant_id', true), '');
      begin
        if setting is null then
          raise exception 'no tenant is set in this transaction' using errcode = 'insufficient_privilege';
        end if;
        return setting::uuid;
      end $$;

      create table outbox_event (
        id uuid primary key,
        tenant_id uuid,
        topic text not null,
        payload jsonb not null,
        dedupe_key text not null,
        created_at timestamptz not null default now(),
        relayed_at timestamptz,
        attempts integer not null default 0,
        failed_at timestamptz,
        error_code text,
        constraint outbox_event_dedupe unique nulls not distinct (tenant_id, topic, dedupe_key)
      );
      create index outbox_event_due on outbox_event (relayed_at nulls first, id) where failed_at is null;

      create function notify_outbox() returns trigger language plpgsql as $$
      begin
        perform pg_notify('holdfast_outbox', '');
        return null;
      end $$;
      create trigger outbox_event_notify after insert on outbox_event for each statement execute function notify_outbox();

      create table saga (
        id uuid primary key,
        tenant_id uuid not null,
        kind text not null,
        state jsonb not null,
        status text not null default 'running',
        direction text not null default 'forward',
        step_index integer not null default 0,
        attempts integer not null default 0,
        revision integer not null default 0,
        next_attempt_at timestamptz not null default now(),
        step_started_at timestamptz,
        lease_token uuid,
        lease_until timestamptz,
        cancel_requested_at timestamptz,
        error_code text,
        error_message text,
        created_at timestamptz not null default now(),
        finished_at timestamptz,
        constraint saga_tenant unique (tenant_id, id),
        constraint saga_status check (status in ('running', 'succeeded', 'undone')),
        constraint saga_direction check (direction in ('forward', 'backward'))
      );
      create index saga_due on saga (next_attempt_at) where status = 'running';

      create table saga_step (
        tenant_id uuid not null,
        saga_id uuid not null,
        position integer not null,
        name text not null,
        state text not null,
        started_at timestamptz,
        finished_at timestamptz,
        error_code text,
        error_message text,
        primary key (tenant_id, saga_id, position),
        constraint saga_step_saga foreign key (tenant_id, saga_id) references saga (tenant_id, id) on delete cascade,
        constraint saga_step_state check (state in ('pending', 'running', 'waiting', 'succeeded', 'failed', 'undoing', 'undone'))
      );

      create table idempotency_key (
        id uuid primary key,
        tenant_id uuid,
        actor_id uuid not null,
        key text not null,
        request_sha256 bytea not null,
        locked_until timestamptz not null,
        status integer,
        response jsonb,
        created_at timestamptz not null default now(),
        constraint idempotency_key_once unique nulls not distinct (tenant_id, actor_id, key)
      );
      create index idempotency_key_created on idempotency_key (created_at);
    `);
    await runner.query(`
      grant usage on schema public to ${LOGIN_ROLES.join(', ')};
      ${tenantTable('outbox_event', {
        app: ['insert'],
        platform: {
          holdfast_operator: ['insert'],
          holdfast_receiver: ['insert'],
          holdfast_worker: ['select', 'insert', 'update', 'delete'],
        },
      })}
      ${tenantTable('saga', {
        app: ['select', 'insert', 'update'],
        platform: { holdfast_worker: ['select', 'update'], holdfast_operator: ['select'] },
      })}
      ${tenantTable('saga_step', {
        app: ['select', 'insert', 'update'],
        platform: { holdfast_worker: ['select', 'insert', 'update'], holdfast_operator: ['select'] },
      })}
      ${tenantTable('idempotency_key', { platform: { holdfast_operator: ['select', 'insert', 'update', 'delete'], holdfast_worker: ['select', 'delete'] } })}
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      drop table idempotency_key, saga_step, saga, outbox_event;
      drop function notify_outbox, current_tenant;
    `);
  }
}
