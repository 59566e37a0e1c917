import type { MigrationInterface, QueryRunner } from 'typeorm';
import { APP_ROLE, OPERATOR_ROLE, platformTable, RECEIVER_ROLE, tenantTable, WORKER_ROLE } from '#libs/platform';

/** Tenants, the people of tenants and provider, how they sign in, and what everybody did. */
export class Tenancy1700000000200 implements MigrationInterface {
  readonly name = 'Tenancy1700000000200';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create table tenant (
        id uuid primary key,
        slug text not null,
        name text not null,
        state text not null default 'active',
        created_at timestamptz not null default now(),
        constraint tenant_slug unique (slug),
        constraint tenant_state check (state in ('active', 'suspended'))
      );

      create table tenant_user (
        id uuid primary key,
        tenant_id uuid not null references tenant (id),
        email text not null,
        name text not null,
        role text not null,
        password_hash text not null,
        created_at timestamptz not null default now(),
        last_login_at timestamptz,
        disabled_at timestamptz,
        constraint tenant_user_tenant unique (tenant_id, id),
        constraint tenant_user_email unique (tenant_id, email),
        constraint tenant_user_email_lower check (email = lower(email)),
        constraint tenant_user_role check (role in ('viewer', 'operator', 'admin'))
      );

      create table operator (
        id uuid primary key,
        email text not null,
        name text not null,
        role text not null,
        password_hash text not null,
        created_at timestamptz not null default now(),
        last_login_at timestamptz,
        disabled_at timestamptz,
        constraint operator_email unique (email),
        constraint operator_email_lower check (email = lower(email)),
        constraint operator_role check (role in ('support', 'operator', 'security'))
      );

      create table session (
        id uuid primary key,
        tenant_id uuid,
        user_id uuid,
        operator_id uuid references operator (id) on delete cascade,
        token_hmac bytea not null,
        created_at timestamptz not null default now(),
        last_seen_at timestamptz not null default now(),
        expires_at timestamptz not null,
        constraint session_token unique (token_hmac),
        constraint session_user_of_tenant foreign key (tenant_id, user_id) references tenant_user (tenant_id, id) on delete cascade,
        constraint session_of_one check ((user_id is null) <> (operator_id is null) and (user_id is null) = (tenant_id is null))
      );
      create index session_expires on session (expires_at);
      create index session_by_user on session (tenant_id, user_id);
      create index session_operator on session (operator_id);

      create table api_token (
        id uuid primary key,
        tenant_id uuid,
        user_id uuid,
        operator_id uuid references operator (id) on delete cascade,
        name text not null,
        role text not null,
        secret_hmac bytea not null,
        created_at timestamptz not null default now(),
        expires_at timestamptz not null,
        last_used_at timestamptz,
        constraint api_token_user_of_tenant foreign key (tenant_id, user_id) references tenant_user (tenant_id, id) on delete cascade,
        constraint api_token_of_one check ((user_id is null) <> (operator_id is null) and (user_id is null) = (tenant_id is null))
      );
      create index api_token_user on api_token (tenant_id, user_id);
      create index api_token_operator on api_token (operator_id);

      -- One chain of hashes for each tenant, and one for the provider (tenant_id null).
      create table audit_event (
        id uuid primary key,
        tenant_id uuid references tenant (id),
        seq bigint not null,
        at timestamptz not null,
        actor_kind text not null,
        actor_id text,
        actor_name text not null,
        action text not null,
        subject_kind text,
        subject_id text,
        outcome text not null,
        details jsonb not null,
        request_id text,
        prev_hash bytea not null,
        hash bytea not null,
        constraint audit_event_seq unique nulls not distinct (tenant_id, seq),
        constraint audit_event_outcome check (outcome in ('done', 'refused'))
      );
    `);
    await runner.query(`
      ${platformTable('tenant', {
        holdfast_operator: ['select', 'update'],
        holdfast_receiver: ['select'],
        holdfast_worker: ['select'],
      })}
      -- A tenant's own transaction sees and makes its own row: a new tenant is made whole, in one transaction.
      create policy tenant_tenant on tenant to ${APP_ROLE} using (id = (select current_tenant())) with check (id = (select current_tenant()));
      grant select, insert on tenant to ${APP_ROLE};
      ${tenantTable('tenant_user', { app: ['select', 'insert', 'update'], platform: { holdfast_operator: ['select', 'update'] } })}
      ${platformTable('operator', { holdfast_operator: ['select', 'insert', 'update'] })}
      ${tenantTable('session', {
        app: ['select', 'delete'],
        platform: { holdfast_operator: ['select', 'insert', 'update', 'delete'], holdfast_worker: ['select', 'delete'] },
      })}
      ${tenantTable('api_token', {
        app: ['select', 'insert', 'delete'],
        platform: { holdfast_operator: ['select', 'insert', 'update', 'delete'], holdfast_worker: ['select', 'delete'] },
      })}
      ${tenantTable('audit_event', {
        app: ['select', 'insert'],
        platform: { [OPERATOR_ROLE]: ['select', 'insert'], [RECEIVER_ROLE]: ['select', 'insert'], [WORKER_ROLE]: ['select', 'insert'] },
      })}
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop table audit_event, api_token, session, operator, tenant_user, tenant`);
  }
}
