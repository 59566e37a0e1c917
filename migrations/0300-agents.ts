import type { MigrationInterface, QueryRunner } from 'typeorm';
import { platformTable, tenantTable } from '#libs/platform';

/** The columns that an identity has in either role. */
const IDENTITY_COLUMNS = `
  fqdn text not null,
  state text not null default 'active',
  state_reason text,
  certificate_sha256 text not null,
  certificate_serial text not null,
  certificate_not_after timestamptz not null,
  issuer_sha256 text not null,
  previous_certificate_sha256 text,
  generation integer not null default 1,
  signing_key bytea not null,
  unwrapping_key bytea not null,
  version text not null,
  enrolled_at timestamptz not null default now(),
  last_seen_at timestamptz`;

const TOKEN_COLUMNS = `
  secret_hmac text not null,
  fqdn_kind text not null,
  fqdn_name text not null,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  used_at timestamptz,
  used_by uuid`;

/** Authorities, enrolment, identities, authorization entries, commands, receivers. */
export class Agents1700000000300 implements MigrationInterface {
  readonly name = 'Agents1700000000300';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create table provider_authority (
        id uuid primary key,
        kind text not null,
        certificate_pem text not null,
        fingerprint_sha256 text not null,
        sealed_key bytea not null,
        not_after timestamptz not null,
        created_at timestamptz not null default now(),
        constraint provider_authority_kind unique (kind),
        constraint provider_authority_known check (kind in ('root', 'nodes'))
      );

      create table storage_location (
        id uuid primary key,
        tenant_id uuid not null references tenant (id),
        name text not null,
        is_default boolean not null default false,
        created_at timestamptz not null default now(),
        constraint storage_location_tenant unique (tenant_id, id),
        constraint storage_location_name unique (tenant_id, name)
      );
      create unique index storage_location_default on storage_location (tenant_id) where is_default;

      create table tenant_authority (
        id uuid primary key,
        tenant_id uuid not null references tenant (id),
        state text not null default 'active',
        certificate_pem text not null,
        fingerprint_sha256 text not null,
        sealed_key bytea not null,
        not_after timestamptz not null,
        created_at timestamptz not null default now(),
        constraint tenant_authority_tenant unique (tenant_id, id),
        constraint tenant_authority_state check (state in ('active', 'retired'))
      );
      create index tenant_authority_newest on tenant_authority (tenant_id, created_at desc) where state = 'active';

      create table tenant_key (
        id uuid primary key,
        tenant_id uuid not null references tenant (id),
        state text not null default 'active',
        public_key bytea not null,
        public_key_sha256 text not null,
        reference text not null,
        created_at timestamptz not null default now(),
        constraint tenant_key_tenant unique (tenant_id, id),
        constraint tenant_key_sha256 unique (tenant_id, public_key_sha256),
        constraint tenant_key_state check (state in ('active', 'retired'))
      );
      create unique index tenant_key_active on tenant_key (tenant_id) where state = 'active';

      create table enrolment_token (
        id uuid primary key,
        tenant_id uuid not null references tenant (id),
        tag text not null,
        ${TOKEN_COLUMNS},
        constraint enrolment_token_tenant unique (tenant_id, id)
      );
      create table replica_node_token (
        id uuid primary key,
        ${TOKEN_COLUMNS}
      );

      create table agent (
        id uuid primary key,
        tenant_id uuid not null references tenant (id),
        tag text not null,
        ${IDENTITY_COLUMNS},
        constraint agent_tenant unique (tenant_id, id),
        constraint agent_state check (state in ('active', 'locked', 'revoked'))
      );
      create table replica_node_identity (
        id uuid primary key,
        ${IDENTITY_COLUMNS},
        constraint replica_node_identity_state check (state in ('active', 'locked', 'revoked'))
      );

      -- What an administrator or the generation check has shut out, by certificate; kept until that would have ended anyhow.
      create table denied_certificate (
        id uuid primary key,
        tenant_id uuid,
        identity_id uuid not null,
        certificate_sha256 text not null,
        reason text not null,
        denied_at timestamptz not null default now(),
        expires_at timestamptz not null,
        constraint denied_certificate_once unique nulls not distinct (tenant_id, certificate_sha256)
      );

      create table authorization_entry (
        id uuid primary key,
        tenant_id uuid not null,
        server_kind text not null,
        server_name text not null,
        depth text not null,
        tag text not null,
        storage_location_id uuid not null,
        enabled boolean not null default true,
        created_at timestamptz not null default now(),
        constraint authorization_entry_tenant unique (tenant_id, id),
        constraint authorization_entry_once unique (tenant_id, tag, server_kind, server_name),
        constraint authorization_entry_kind check (server_kind in ('exact', 'suffix')),
        constraint authorization_entry_depth check (depth in ('one', 'any')),
        constraint authorization_entry_location foreign key (tenant_id, storage_location_id) references storage_location (tenant_id, id)
      );

      -- The position is drawn under a lock of the recipient (see sendCommand), so that no smaller one is committed after a greater.
      create table command (
        id uuid primary key,
        tenant_id uuid not null references tenant (id),
        seq bigint not null generated always as identity,
        recipient_role text not null,
        recipient_id uuid not null,
        agent_id uuid generated always as (case when recipient_role = 'agent' then recipient_id end) stored,
        replica_node_id uuid generated always as (case when recipient_role = 'replica-node' then recipient_id end) stored,
        kind text not null,
        subject_id uuid,
        epoch_incarnation integer,
        epoch_counter integer,
        payload jsonb not null,
        created_at timestamptz not null default now(),
        outcome text,
        result jsonb,
        finished_at timestamptz,
        constraint command_tenant unique (tenant_id, id),
        constraint command_recipient check (recipient_role in ('agent', 'replica-node')),
        constraint command_epoch check ((epoch_incarnation is null) = (epoch_counter is null)),
        constraint command_outcome check (outcome in ('succeeded', 'failed') and (outcome is null) = (finished_at is null)),
        constraint command_agent foreign key (tenant_id, agent_id) references agent (tenant_id, id),
        constraint command_replica_node foreign key (replica_node_id) references replica_node_identity (id)
      );
      create index command_waiting on command (recipient_id, seq) where finished_at is null;
      create index command_subject on command (tenant_id, subject_id, kind, seq) where subject_id is not null;

      -- Whose standing changed, for the receivers' memory of peers: an identity's id, or a tenant's when its authorities changed.
      -- The transaction's number lets a reader find every change that was committed since it last looked, in whatever order.
      create table identity_change (
        subject_id uuid primary key,
        tenant_id uuid,
        changed_by bigint not null default (pg_current_xact_id()::text::bigint)
      );
      create index identity_change_recent on identity_change (changed_by);

      create function note_identity_change(subject uuid, tenant uuid) returns void language sql as $$
        insert into identity_change (subject_id, tenant_id) values (subject, tenant)
          on conflict (subject_id) do update set changed_by = excluded.changed_by;
        select pg_notify('holdfast_identity', '');
      $$;
      create function agent_changed() returns trigger language plpgsql as $$
        begin perform note_identity_change(new.id, new.tenant_id); return null; end $$;
      create function replica_node_changed() returns trigger language plpgsql as $$
        begin perform note_identity_change(new.id, null); return null; end $$;
      create function certificate_denied() returns trigger language plpgsql as $$
        begin perform note_identity_change(new.identity_id, new.tenant_id); return null; end $$;
      create function tenant_authority_changed() returns trigger language plpgsql as $$
        begin perform note_identity_change(new.tenant_id, new.tenant_id); return null; end $$;

      create function tenant_state_changed() returns trigger language plpgsql as $$
        begin perform note_identity_change(new.id, new.id); return null; end $$;
      create trigger tenant_state_changed after update of state on tenant for each row execute function tenant_state_changed();

      create trigger agent_changed after update of state, certificate_sha256, previous_certificate_sha256 on agent
        for each row execute function agent_changed();
      create trigger replica_node_changed after update of state, certificate_sha256, previous_certificate_sha256 on replica_node_identity
        for each row execute function replica_node_changed();
      create trigger certificate_denied after insert on denied_certificate for each row execute function certificate_denied();
      create trigger tenant_authority_changed after insert or update on tenant_authority for each row execute function tenant_authority_changed();

      create table receiver (
        id uuid primary key,
        name text not null,
        url text not null,
        version text not null,
        started_at timestamptz not null,
        last_seen_at timestamptz not null default now(),
        connections integer not null default 0,
        uploads integer not null default 0,
        received_bytes bigint not null default 0,
        constraint receiver_name unique (name)
      );
    `);
    await runner.query(policies());
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      drop table receiver, identity_change, command, authorization_entry, denied_certificate, replica_node_identity, agent,
        replica_node_token, enrolment_token, tenant_key, tenant_authority, storage_location, provider_authority;
      drop trigger tenant_state_changed on tenant;
      drop function tenant_state_changed, tenant_authority_changed, certificate_denied, replica_node_changed, agent_changed, note_identity_change;
    `);
  }
}

/** The api is the operator's role, and the door of enrolment: there the token alone says whose it is. */
function policies(): string {
  const changes = ['select', 'insert', 'update'] as const;
  return [
    platformTable('provider_authority', {
      holdfast_operator: ['select', 'insert'],
      holdfast_receiver: ['select', 'insert'],
      holdfast_worker: ['select'],
    }),
    tenantTable('storage_location', { app: ['select', 'insert', 'update'] }),
    tenantTable('tenant_authority', { app: ['select', 'insert', 'update'] }),
    tenantTable('tenant_key', { app: ['select', 'insert', 'update'] }),
    tenantTable('enrolment_token', { platform: { holdfast_operator: ['select'], holdfast_worker: ['select', 'delete'] } }),
    platformTable('replica_node_token', {
      holdfast_operator: ['select', 'insert', 'update', 'delete'],
      holdfast_worker: ['select', 'delete'],
    }),
    tenantTable('agent', {
      app: ['select', 'insert', 'update'],
      platform: { holdfast_operator: ['select'], holdfast_receiver: ['select'], holdfast_worker: ['select'] },
    }),
    platformTable('replica_node_identity', {
      holdfast_operator: changes,
      holdfast_receiver: ['select', 'update'],
      holdfast_worker: ['select', 'update'],
    }),
    tenantTable('denied_certificate', {
      app: ['select', 'insert'],
      platform: { holdfast_operator: ['select', 'insert'], holdfast_receiver: ['select', 'insert'], holdfast_worker: ['select', 'delete'] },
    }),
    tenantTable('authorization_entry'),
    tenantTable('command', {
      app: ['select', 'insert', 'update'],
      platform: { holdfast_operator: ['select'], holdfast_receiver: ['select'], holdfast_worker: ['select', 'delete'] },
    }),
    tenantTable('identity_change', {
      app: changes,
      platform: { holdfast_operator: changes, holdfast_receiver: changes, holdfast_worker: changes },
    }),
    platformTable('receiver', { holdfast_receiver: ['select', 'insert', 'update', 'delete'], holdfast_operator: ['select'] }),
  ].join('\n');
}
