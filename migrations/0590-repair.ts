import type { MigrationInterface, QueryRunner } from 'typeorm';
import { tenantTable } from '#libs/platform';

/** Repair of damaged segments into history: which records are wanted of their writer, and what it offered. Blocks that are better sent whole. */
export class Repair1700000000590 implements MigrationInterface {
  readonly name = 'Repair1700000000590';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create table chain_repair (
        id uuid primary key,
        tenant_id uuid not null,
        chain_id uuid not null,
        segment text not null,
        state text not null default 'Queued',
        -- Grows with each question to a key holder: an answer to an older one counts for nothing.
        round integer not null default 0,
        attempts integer not null default 0,
        -- Places in the segment's footer: what a key holder could not open; of that what is wanted of the writer, and what it has offered.
        wrong jsonb not null default '[]',
        wanted jsonb not null default '[]',
        offered jsonb not null default '[]',
        -- Segments that are to stand for the damaged one.
        repaired jsonb not null default '[]',
        failure_code text,
        failure_message text,
        created_at timestamptz not null default now(),
        changed_at timestamptz not null default now(),
        -- When the worker takes its next turn with it; and the turns in a row that changed nothing, each of which makes the next one wait for longer.
        due_at timestamptz not null default now(),
        idle_turns integer not null default 0,
        ended_at timestamptz,
        constraint chain_repair_tenant unique (tenant_id, id),
        constraint chain_repair_segment unique (tenant_id, chain_id, segment),
        constraint chain_repair_chain foreign key (tenant_id, chain_id) references replica_chain (tenant_id, id),
        constraint chain_repair_state check (state in ('Queued', 'WaitingForKeys', 'Examining', 'Examined', 'WaitingForAgent', 'Offered',
                                                       'Verifying', 'Verified', 'Completed', 'Failed')),
        constraint chain_repair_ended check ((ended_at is not null) = (state in ('Completed', 'Failed')))
      );
      create index chain_repair_due on chain_repair (due_at) where ended_at is null;

      create table chain_repair_offer (
        tenant_id uuid not null,
        repair_id uuid not null,
        sha256 text not null,
        indexes jsonb not null,
        created_at timestamptz not null default now(),
        primary key (tenant_id, repair_id, sha256),
        constraint chain_repair_offer_repair foreign key (tenant_id, repair_id) references chain_repair (tenant_id, id) on delete cascade
      );

      -- Blocks that cost more than twice what they show, and the cycle that was asked for them last.
      create table chain_costly_block (
        tenant_id uuid not null,
        chain_id uuid not null,
        disk integer not null,
        block bigint not null,
        asked_cycle text,
        primary key (tenant_id, chain_id, disk, block),
        constraint chain_costly_block_chain foreign key (tenant_id, chain_id) references replica_chain (tenant_id, id)
      );
      alter table chain_upkeep add column asked_bytes bigint not null default 0;

      alter table key_request drop constraint key_request_kind,
        add constraint key_request_kind check (kind in ('failover', 'export', 'publication', 'repair'));
    `);
    const platform = { holdfast_operator: ['select'], holdfast_worker: ['select'] } as const;
    await runner.query(
      [
        tenantTable('chain_repair', { platform }),
        tenantTable('chain_repair_offer', { platform: {} }),
        tenantTable('chain_costly_block', { platform: {} }),
      ].join('\n'),
    );
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      delete from key_request where kind = 'repair';
      alter table key_request drop constraint key_request_kind,
        add constraint key_request_kind check (kind in ('failover', 'export', 'publication'));
      alter table chain_upkeep drop column asked_bytes;
      drop table chain_costly_block, chain_repair_offer, chain_repair;
    `);
  }
}
