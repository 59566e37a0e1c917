import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AGENTS_TABLES } from '#libs/agents';
import { CLUSTER_TABLES } from '#libs/cluster';
import { FAILOVER_TABLES } from '#libs/failover';
import { LOGIN_ROLES, OWNER_ROLE, PLATFORM_TABLES } from '#libs/platform';
import { REPLICATION_TABLES } from '#libs/replication';
import { TENANCY_TABLES } from '#libs/tenancy';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

const TABLES = [...PLATFORM_TABLES, ...TENANCY_TABLES, ...AGENTS_TABLES, ...CLUSTER_TABLES, ...REPLICATION_TABLES, ...FAILOVER_TABLES];

/** TypeORM's own record of what ran. */
const UNDEFINED_TABLES = ['migration'];

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database?.drop());

const names = (rows: readonly { name: string }[]): string[] => rows.map(({ name }) => name);

describe('tables and migrations', () => {
  it('name the same tables', async () => {
    const found = await database.asSuperuser<{ name: string }>(
      `select relname as name from pg_class where relkind in ('r', 'p') and relnamespace = 'public'::regnamespace`,
    );
    expect(names(found).sort()).toEqual([...TABLES.map(({ name }) => name), ...UNDEFINED_TABLES].sort());
  });

  it.each(TABLES.map((table) => [table.name, table] as const))('say the same of the columns of %s', async (name, table) => {
    const found = await database.asSuperuser<{ name: string; type: string; nullable: boolean }>(
      `select attname as name, format_type(atttypid, null) as type, not attnotnull as nullable
         from pg_attribute where attrelid = $1::regclass and attnum > 0 and not attisdropped`,
      [`"${name}"`],
    );
    const inDatabase = Object.fromEntries(found.map(({ name: column, type, nullable }) => [column, { type, nullable }]));
    const inCode = Object.fromEntries(Object.entries(table.columns).map(([column, { type, nullable }]) => [column, { type, nullable }]));
    expect(inCode).toEqual(inDatabase);
  });
});

describe('the catalogue', () => {
  it('has forced row-level security on every table', async () => {
    const bare = await database.asSuperuser<{ name: string }>(
      `select relname as name from pg_class
        where relkind in ('r', 'p') and relnamespace = 'public'::regnamespace and not (relrowsecurity and relforcerowsecurity)`,
    );
    expect(names(bare)).toEqual(UNDEFINED_TABLES);
  });

  it('lets tenant transactions reach a table only through its tenant, in both directions', async () => {
    const loose = await database.asSuperuser<{ name: string }>(
      `select polrelid::regclass || '.' || polname as name from pg_policy
        where 'holdfast_app'::regrole = any (polroles)
          and (pg_get_expr(polqual, polrelid) not like '%current_tenant()%' or pg_get_expr(polwithcheck, polrelid) is null
               or pg_get_expr(polwithcheck, polrelid) not like '%current_tenant()%')`,
    );
    expect(names(loose)).toEqual([]);
  });

  it('has no policy for everybody, and no grant to everybody', async () => {
    const open = await database.asSuperuser<{ name: string }>(
      `select polrelid::regclass || '.' || polname as name from pg_policy where 0::oid = any (polroles)
       union all
       select relname from pg_class, aclexplode(relacl) as acl where relnamespace = 'public'::regnamespace and acl.grantee = 0`,
    );
    expect(names(open)).toEqual([]);
  });

  it('points from tenant table to tenant table with the tenant in the key', async () => {
    const plain = await database.asSuperuser<{ name: string }>(
      `select conname as name from pg_constraint c
        where contype = 'f' and confrelid <> 'tenant'::regclass
          and exists (select from pg_attribute where attrelid = c.conrelid and attname = 'tenant_id')
          and exists (select from pg_attribute where attrelid = c.confrelid and attname = 'tenant_id')
          and not exists (select from pg_attribute where attrelid = c.conrelid and attname = 'tenant_id' and attnum = any (c.conkey))`,
    );
    expect(names(plain)).toEqual([]);
  });

  it("has views only with the rights of whoever asks, and no function with its owner's", async () => {
    const lending = await database.asSuperuser<{ name: string }>(
      `select relname as name from pg_class
        where relkind in ('v', 'm') and relnamespace = 'public'::regnamespace and not coalesce('security_invoker=true' = any (reloptions), false)
       union all
       select proname from pg_proc where pronamespace = 'public'::regnamespace and prosecdef`,
    );
    expect(names(lending)).toEqual([]);
  });

  it('lets nobody change or cut the audit log', async () => {
    const able = await database.asSuperuser<{ name: string }>(
      `select role || ' ' || verb as name from unnest($1::text[]) as role, unnest(array['update', 'delete', 'truncate']) as verb
        where has_table_privilege(role, 'audit_event', verb)`,
      [[...LOGIN_ROLES]],
    );
    expect(names(able)).toEqual([]);
  });

  it('belongs to a role that no process logs in with', async () => {
    const others = await database.asSuperuser<{ name: string }>(
      `select relname as name from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v') and relowner <> $1::regrole`,
      [OWNER_ROLE],
    );
    expect(names(others)).toEqual([]);
    const strong = await database.asSuperuser<{ name: string }>(
      `select rolname as name from pg_roles where rolname = any ($1) and (rolsuper or rolbypassrls or rolcreaterole or pg_has_role(oid, $2, 'member'))`,
      [[...LOGIN_ROLES], OWNER_ROLE],
    );
    expect(names(strong)).toEqual([]);
  });
});
