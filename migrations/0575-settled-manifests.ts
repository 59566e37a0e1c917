import type { MigrationInterface, QueryRunner } from 'typeorm';

/** A manifest that an adoption found in the store, and settled that it does not count, is told apart from one that a later state of the database bound. */
export class SettledManifests1700000000575 implements MigrationInterface {
  readonly name = 'SettledManifests1700000000575';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`alter table replication_cycle add column settled_at timestamptz`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`alter table replication_cycle drop column settled_at`);
  }
}
