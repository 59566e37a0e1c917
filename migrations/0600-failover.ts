import type { MigrationInterface, QueryRunner } from 'typeorm';
import { platformAccess, tenantTable } from '#libs/platform';

/** Failovers, and what a replica node reports of them. */
export class Failover1700000000600 implements MigrationInterface {
  readonly name = 'Failover1700000000600';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create table failover (
        id uuid primary key,
        tenant_id uuid not null,
        relationship_id uuid not null,
        type text not null,
        state text not null,
        recovery_point_id uuid not null,
        epoch_incarnation integer not null,
        epoch_counter bigint not null,
        branch_id uuid,
        previous_branch_id uuid not null,
        replica_node_id uuid references replica_node_identity (id),
        phase text,
        phase_at timestamptz,
        up_at timestamptz,
        boot_ms double precision,
        boot_proof text,
        boot_doubt text,
        console text not null default '',
        screenshot bytea,
        failure_code text,
        failure_message text,
        requested_at timestamptz not null default now(),
        stopped_at timestamptz,
        finished_at timestamptz,
        constraint failover_tenant unique (tenant_id, id),
        constraint failover_relationship foreign key (tenant_id, relationship_id) references replication_relationship (tenant_id, id),
        constraint failover_point foreign key (tenant_id, recovery_point_id) references chain_manifest (tenant_id, id),
        constraint failover_branch foreign key (tenant_id, branch_id) references chain_branch (tenant_id, id),
        constraint failover_type check (type in ('Test', 'Planned', 'Unplanned')),
        constraint failover_state check (state in ('Queued', 'InProgress', 'Running', 'Completed', 'Cancelling', 'Cancelled', 'Failed')),
        constraint failover_phase check (phase in ('opening', 'booting', 'up', 'stopped', 'failed')),
        constraint failover_boot_proof check (boot_proof in ('console-pattern', 'console-activity'))
      );
      -- One test and one real failover of a VM at a time; a completed one still runs until its replication was reversed.
      create unique index failover_one_at_a_time on failover (tenant_id, relationship_id, (type = 'Test'))
        where state in ('Queued', 'InProgress', 'Running', 'Completed', 'Cancelling');
      create index failover_recent on failover (tenant_id, requested_at desc);
    `);
    await runner.query(
      [
        tenantTable('failover', {
          app: ['select', 'insert', 'update'],
          platform: { holdfast_receiver: ['select', 'update'], holdfast_worker: ['select'], holdfast_operator: ['select'] },
        }),
        // A node's report wakes the saga that waits for it.
        platformAccess('saga', 'holdfast_receiver', ['select', 'update']),
      ].join('\n'),
    );
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop table failover;`);
  }
}
