import type { MigrationInterface, QueryRunner } from 'typeorm';

/** A version of a tenant's key is told to the store, too, so that a catalogue that was rebuilt from it opens what was wrapped. */
export class RecordedKeys1700000000576 implements MigrationInterface {
  readonly name = 'RecordedKeys1700000000576';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`alter table tenant_key add column recorded_at timestamptz`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`alter table tenant_key drop column recorded_at`);
  }
}
