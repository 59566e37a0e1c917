/**
 * The database roles. `holdfast_owner` owns every table and never logs in while the platform runs; `holdfast_app` is
 * every process's login for tenant transactions; each process has one further login of its own for what crosses tenants.
 * None of them is a superuser, bypasses row-level security, or owns what it reads.
 */
export const OWNER_ROLE = 'holdfast_owner';
export const APP_ROLE = 'holdfast_app';
export const OPERATOR_ROLE = 'holdfast_operator';
export const RECEIVER_ROLE = 'holdfast_receiver';
export const WORKER_ROLE = 'holdfast_worker';

export const PLATFORM_ROLES = [OPERATOR_ROLE, RECEIVER_ROLE, WORKER_ROLE] as const;
export const LOGIN_ROLES = [APP_ROLE, ...PLATFORM_ROLES] as const;

export type PlatformRole = (typeof PLATFORM_ROLES)[number];
export type LoginRole = (typeof LOGIN_ROLES)[number];
