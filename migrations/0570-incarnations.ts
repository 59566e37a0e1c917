import type { MigrationInterface, QueryRunner } from 'typeorm';
import { APP_ROLE, OPERATOR_ROLE, platformAccess, RECEIVER_ROLE } from '#libs/platform';

/** A database that was restored from a backup knows it, and waits for a person before anything is written on its word. */
export class Incarnations1700000000570 implements MigrationInterface {
  readonly name = 'Incarnations1700000000570';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      -- Why nothing is written or deleted on this database's word; null while it is the one that holds.
      alter table installation add column withheld text,
        add constraint installation_withheld check (withheld in ('catalogue.adoption-pending', 'catalogue.superseded', 'catalogue.foreign-store'));
      -- Every tenant's transaction sees it, and none changes it.
      create policy installation_tenant on installation to ${APP_ROLE}
        using ((select current_tenant()) is not null) with check ((select current_tenant()) is null);
      grant select on installation to ${APP_ROLE};
      ${platformAccess('installation', RECEIVER_ROLE, ['select', 'update'])}
      ${platformAccess('installation', OPERATOR_ROLE, ['update'])}
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query(`
      drop policy installation_operator_update on installation;
      drop policy installation_receiver_update on installation;
      drop policy installation_receiver_select on installation;
      drop policy installation_tenant on installation;
      revoke update on installation from ${OPERATOR_ROLE};
      revoke select, update on installation from ${RECEIVER_ROLE};
      revoke select on installation from ${APP_ROLE};
      alter table installation drop column withheld;
    `);
  }
}
