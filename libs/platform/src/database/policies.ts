import { APP_ROLE, type LoginRole, type PlatformRole } from './roles.js';

/** What a role may do with a table. `insert` alone is an append-only table. */
export type Verb = 'select' | 'insert' | 'update' | 'delete';

const ALL_VERBS: readonly Verb[] = ['select', 'insert', 'update', 'delete'];

export interface TenantTableAccess {
  /** What tenant transactions may do. Default: everything. An empty list keeps the table from them. */
  readonly app?: readonly Verb[];
  /** What a process may do across tenants, role by role. Default: nothing. */
  readonly platform?: Partial<Record<PlatformRole, readonly Verb[]>>;
}

/**
 * The SQL that puts a table with a `tenant_id` under row-level security: enabled and forced, one policy for tenant
 * transactions (`USING` and `WITH CHECK` on `current_tenant()`, which raises when no tenant is set), one explicit policy
 * for each verb of each platform role, and exactly the grants that go with them.
 *
 * Convention beside it: primary key `id uuid`, `unique (tenant_id, id)`, and foreign keys between tenant tables on
 * `(tenant_id, …_id)`, so that no row can point into another tenant; unique constraints start with `tenant_id`.
 */
export function tenantTable(table: string, access: TenantTableAccess = {}): string {
  const { app = ALL_VERBS, platform = {} } = access;
  const statements = [`alter table ${table} enable row level security`, `alter table ${table} force row level security`];
  if (app.length > 0) {
    const own = 'tenant_id = (select current_tenant())';
    statements.push(
      `create policy ${table}_tenant on ${table} to ${APP_ROLE} using (${own}) with check (${own})`,
      grant(table, APP_ROLE, app),
    );
  }
  for (const [role, verbs] of Object.entries(platform)) statements.push(...platformPolicies(table, role as PlatformRole, verbs));
  return `${statements.join(';\n')};`;
}

/** The SQL for a table that belongs to the provider and to no tenant: forced row-level security with the listed policies only. */
export function platformTable(table: string, access: Partial<Record<LoginRole, readonly Verb[]>>): string {
  const statements = [`alter table ${table} enable row level security`, `alter table ${table} force row level security`];
  for (const [role, verbs] of Object.entries(access)) statements.push(...platformPolicies(table, role as LoginRole, verbs));
  return `${statements.join(';\n')};`;
}

/** Grants one more role of the platform access to a table that stands already; for a later feature's migration. */
export function platformAccess(table: string, role: PlatformRole, verbs: readonly Verb[]): string {
  return `${platformPolicies(table, role, verbs).join(';\n')};`;
}

function platformPolicies(table: string, role: LoginRole, verbs: readonly Verb[]): string[] {
  if (verbs.length === 0) return [];
  const policies = verbs.map((verb) => {
    const name = `${table}_${role.replace('holdfast_', '')}_${verb}`;
    const using = verb === 'insert' ? '' : ' using (true)';
    const check = verb === 'insert' || verb === 'update' ? ' with check (true)' : '';
    return `create policy ${name} on ${table} for ${verb} to ${role}${using}${check}`;
  });
  return [...policies, grant(table, role, verbs)];
}

function grant(table: string, role: LoginRole, verbs: readonly Verb[]): string {
  return `grant ${verbs.join(', ')} on ${table} to ${role}`;
}
