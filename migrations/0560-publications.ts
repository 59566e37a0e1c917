import type { MigrationInterface, QueryRunner } from 'typeorm';
import { tenantTable } from '#libs/platform';

/** Publications of points as files in the store, and checks of chains. */
export class Publications1700000000560 implements MigrationInterface {
  readonly name = 'Publications1700000000560';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create table publication (
        id uuid primary key,
        tenant_id uuid not null,
        relationship_id uuid not null,
        chain_id uuid not null,
        format text not null,
        disk_ordinal integer,
        points jsonb not null,
        follow boolean not null,
        state text not null default 'Active',
        -- Of files still to be made, as of the last look.
        waiting_count integer,
        intermediate_count integer not null default 0,
        index_revision integer not null default 0,
        index_sha256 text,
        attempts integer not null default 0,
        due_at timestamptz not null default now(),
        failure_code text,
        failure_message text,
        created_at timestamptz not null default now(),
        constraint publication_tenant unique (tenant_id, id),
        constraint publication_relationship foreign key (tenant_id, relationship_id) references replication_relationship (tenant_id, id),
        constraint publication_state check (state in ('Active', 'Completed', 'Stopped', 'Failed', 'Deleting')),
        constraint publication_format check (format in ('vhd', 'vhdx')),
        constraint publication_once unique nulls not distinct (tenant_id, relationship_id, format, disk_ordinal)
      );
      create index publication_due on publication (due_at) where state in ('Active', 'Deleting');

      -- A file of a publication is an export like any other; how far each has come is told by its replica node.
      alter table point_export
        add column publication_id uuid,
        add column done_bytes bigint not null default 0,
        add column total_bytes bigint,
        add constraint point_export_publication foreign key (tenant_id, publication_id) references publication (tenant_id, id);
      create index point_export_of_publication on point_export (tenant_id, publication_id) where publication_id is not null;

      alter table key_request drop constraint key_request_kind,
        add constraint key_request_kind check (kind in ('failover', 'export', 'publication'));

      create table chain_check (
        id uuid primary key,
        tenant_id uuid not null,
        relationship_id uuid not null,
        chain_id uuid not null,
        with_bytes boolean not null,
        state text not null default 'Queued',
        checked_objects integer not null default 0,
        checked_bytes bigint not null default 0,
        total_objects integer,
        total_bytes bigint,
        -- Segments up to this one were read whole: a check that was cut short goes on behind it.
        cursor text not null default '',
        damage jsonb not null default '[]',
        failure_code text,
        failure_message text,
        created_at timestamptz not null default now(),
        ended_at timestamptz,
        constraint chain_check_tenant unique (tenant_id, id),
        constraint chain_check_relationship foreign key (tenant_id, relationship_id) references replication_relationship (tenant_id, id),
        constraint chain_check_state check (state in ('Queued', 'InProgress', 'Completed', 'Failed'))
      );
      create index chain_check_of on chain_check (tenant_id, relationship_id, created_at desc);
      create index chain_check_due on chain_check (created_at) where state in ('Queued', 'InProgress');
      create unique index chain_check_one_a_chain on chain_check (tenant_id, chain_id) where state in ('Queued', 'InProgress');
    `);
    const platform = { holdfast_operator: ['select'], holdfast_worker: ['select'] } as const;
    await runner.query([tenantTable('publication', { platform }), tenantTable('chain_check', { platform })].join('\n'));
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      drop table chain_check;
      delete from key_request where kind = 'publication';
      alter table key_request drop constraint key_request_kind, add constraint key_request_kind check (kind in ('failover', 'export'));
      delete from point_export where publication_id is not null;
      alter table point_export drop column publication_id, drop column done_bytes, drop column total_bytes;
      drop table publication;
    `);
  }
}
