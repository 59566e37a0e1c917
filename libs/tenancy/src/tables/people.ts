import { newId, type UserId } from '#libs/kernel';
import { isUniqueViolation, type PlatformTx, type Tx } from '#libs/platform';
import { emailTaken } from '../domain/errors.js';
import type { ProviderRole, TenantRole } from '../domain/permissions.js';
import { type OperatorRow, operatorTable, type TenantUserRow, tenantUserTable } from './tables.js';

interface NewPerson<Role> {
  readonly email: string;
  readonly name: string;
  readonly role: Role;
  readonly passwordHash: string;
}

export async function insertUser(tx: Tx, user: NewPerson<TenantRole>): Promise<TenantUserRow> {
  try {
    return await tx.one<TenantUserRow>(
      `insert into tenant_user (id, tenant_id, email, name, role, password_hash) values ($1, $2, $3, $4, $5, $6) returning ${tenantUserTable.list}`,
      [newId(), tx.tenantId, user.email, user.name, user.role, user.passwordHash],
    );
  } catch (error) {
    if (isUniqueViolation(error, 'tenant_user_email')) throw emailTaken(user.email);
    throw error;
  }
}

export function listUsers(tx: Tx): Promise<TenantUserRow[]> {
  return tx.query<TenantUserRow>(`select ${tenantUserTable.list} from tenant_user where tenant_id = $1 order by email`, [tx.tenantId]);
}

export function findUser(tx: Tx, id: UserId): Promise<TenantUserRow | undefined> {
  return tx.maybeOne<TenantUserRow>(`select ${tenantUserTable.list} from tenant_user where tenant_id = $1 and id = $2`, [tx.tenantId, id]);
}

export function findUserByEmail(tx: Tx, email: string): Promise<TenantUserRow | undefined> {
  return tx.maybeOne<TenantUserRow>(`select ${tenantUserTable.list} from tenant_user where tenant_id = $1 and email = $2`, [
    tx.tenantId,
    email,
  ]);
}

export async function recordUserLogin(tx: Tx, id: UserId): Promise<void> {
  await tx.execute(`update tenant_user set last_login_at = now() where tenant_id = $1 and id = $2`, [tx.tenantId, id]);
}

/** Undefined when the address has an account already. */
export async function insertOperator(tx: PlatformTx, operator: NewPerson<ProviderRole>): Promise<OperatorRow | undefined> {
  return tx.maybeOne<OperatorRow>(
    `insert into operator (id, email, name, role, password_hash) values ($1, $2, $3, $4, $5) on conflict (email) do nothing returning ${operatorTable.list}`,
    [newId(), operator.email, operator.name, operator.role, operator.passwordHash],
  );
}

export function findOperator(tx: PlatformTx, id: UserId): Promise<OperatorRow | undefined> {
  return tx.maybeOne<OperatorRow>(`select ${operatorTable.list} from operator where id = $1`, [id]);
}

export function findOperatorByEmail(tx: PlatformTx, email: string): Promise<OperatorRow | undefined> {
  return tx.maybeOne<OperatorRow>(`select ${operatorTable.list} from operator where email = $1`, [email]);
}

export async function recordOperatorLogin(tx: PlatformTx, id: UserId): Promise<void> {
  await tx.execute(`update operator set last_login_at = now() where id = $1`, [id]);
}
