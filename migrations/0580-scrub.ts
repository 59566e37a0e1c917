import type { MigrationInterface, QueryRunner } from 'typeorm';
import { tenantTable } from '#libs/platform';

/** Scrub: when each object of a chain was last read whole, and what was found damaged. */
export class Scrub1700000000580 implements MigrationInterface {
  readonly name = 'Scrub1700000000580';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create table chain_object (
        tenant_id uuid not null,
        chain_id uuid not null,
        -- Below the chain's prefix; with a slash before it where it is one of the whole store.
        name text not null,
        verified_at timestamptz not null default now(),
        -- What it held then, where nothing else says what it must hold.
        sha256 text,
        primary key (tenant_id, chain_id, name),
        constraint chain_object_chain foreign key (tenant_id, chain_id) references replica_chain (tenant_id, id)
      );
      create index chain_object_oldest on chain_object (tenant_id, chain_id, verified_at, name);

      -- Objects in quarantine.
      create table chain_damage (
        tenant_id uuid not null,
        chain_id uuid not null,
        name text not null,
        kind text not null,
        layer text,
        code text not null,
        message text not null,
        -- Cycles of the kept positions it matters to, as of the cycle looked at last.
        positions text[] not null,
        assessed_to text not null,
        -- What a writer is asked to send again, whole.
        blocks jsonb not null,
        found_at timestamptz not null default now(),
        primary key (tenant_id, chain_id, name),
        constraint chain_damage_chain foreign key (tenant_id, chain_id) references replica_chain (tenant_id, id),
        constraint chain_damage_kind check (kind in ('segment', 'manifest', 'list', 'index', 'snapshot', 'key', 'fence', 'relationship', 'presence', 'tenant-key'))
      );

      create table chain_scrub (
        tenant_id uuid not null,
        chain_id uuid not null,
        due_at timestamptz not null default now(),
        -- When the last turn ended; null before the first.
        scrubbed_at timestamptz,
        -- All that was verified before somebody asked is due.
        requested_at timestamptz,
        verified_objects bigint not null default 0,
        verified_bytes bigint not null default 0,
        failure_code text,
        failure_message text,
        primary key (tenant_id, chain_id),
        constraint chain_scrub_chain foreign key (tenant_id, chain_id) references replica_chain (tenant_id, id)
      );
      create index chain_scrub_due on chain_scrub (due_at);
    `);
    const platform = { holdfast_operator: ['select'], holdfast_worker: ['select'] } as const;
    await runner.query(
      [
        tenantTable('chain_object', { platform }),
        tenantTable('chain_damage', { platform }),
        tenantTable('chain_scrub', { platform: { holdfast_operator: ['select', 'insert', 'update'], holdfast_worker: ['select'] } }),
      ].join('\n'),
    );
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop table chain_scrub, chain_damage, chain_object;`);
  }
}
