import { CodedError } from '#libs/kernel';

/** One answer for a wrong tenant, user or password: which it was is nobody's business. */
export const loginRefused = (): CodedError =>
  new CodedError('login.refused', 'unauthenticated', 'the tenant, e-mail address or password is not right');
export const loginThrottled = (): CodedError =>
  new CodedError('login.throttled', 'exhausted', 'too many failed sign-ins; wait some minutes');
export const loginBusy = (): CodedError => new CodedError('login.busy', 'exhausted', 'too many sign-ins at this moment; try again');
export const unauthenticated = (): CodedError => new CodedError('access.unauthenticated', 'unauthenticated', 'sign in, or give a token');
export const accessDenied = (): CodedError => new CodedError('access.denied', 'forbidden', 'this is not yours to do');
export const csrfRefused = (): CodedError =>
  new CodedError('access.csrf-missing', 'forbidden', 'a session must send its X-Holdfast-CSRF header with every change');
export const tenantNotFound = (): CodedError => new CodedError('tenant.not-found', 'not-found', 'there is no such tenant');
export const tenantSuspended = (): CodedError => new CodedError('tenant.suspended', 'forbidden', 'this tenant is suspended');
export const slugTaken = (slug: string): CodedError =>
  new CodedError('tenant.slug-taken', 'conflict', 'another tenant has this name', { slug });
export const emailTaken = (email: string): CodedError =>
  new CodedError('user.email-taken', 'conflict', 'this e-mail address has an account already', { email });
export const apiTokenNotFound = (): CodedError => new CodedError('api-token.not-found', 'not-found', 'there is no such token');
export const roleTooHigh = (): CodedError =>
  new CodedError('api-token.role-too-high', 'forbidden', 'a token cannot have a higher role than whoever makes it');
