import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What repeats is written once in a while: whether it was is looked up here, however long the log. */
export class AuditRecent1700000000220 implements MigrationInterface {
  readonly name = 'AuditRecent1700000000220';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`create index audit_event_subject on audit_event (tenant_id, subject_id, action, at);`);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`drop index audit_event_subject;`);
  }
}
