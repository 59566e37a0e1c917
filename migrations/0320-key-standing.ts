import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What is left of a tenant that was taken away; keys of former commands. */
export class KeyStanding1700000000320 implements MigrationInterface {
  readonly name = 'KeyStanding1700000000320';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      -- Nothing opens any more from destroyed_at on; what is in the clear goes at once, and what the store keeps locked when it may.
      alter table tenant_deletion
        add column sweep_due_at timestamptz,
        add column kept_count bigint,
        add column emptied_at timestamptz,
        add constraint tenant_deletion_emptied check (emptied_at is null or destroyed_at is not null);

      update command set payload = jsonb_set(payload, '{source,keys}', '[]') where finished_at is not null and payload ? 'source';
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`alter table tenant_deletion drop column sweep_due_at, drop column kept_count, drop column emptied_at;`);
  }
}
