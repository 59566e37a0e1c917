import { type CanActivate, type ExecutionContext, Injectable } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { AuthGuard } from '@nestjs/passport';
import { PlatformError, type Redacted } from '#libs/kernel';
import { type HttpRequest, Secrets } from '#libs/platform';
import { type Actor, permissionsOf } from '../domain/actor.js';
import { csrfTokenOf, equals } from '../domain/credentials.js';
import { accessDenied, csrfRefused, unauthenticated } from '../domain/errors.js';
import { ACCESS, type Access } from './access.js';
import { sessionTokenOf } from './session-cookie.js';

const CSRF_HEADER = 'x-holdfast-csrf';
const SAFE_METHODS = new Set(['GET', 'HEAD', 'OPTIONS']);

/** The same refusal whatever was wrong with the credential, unless it was right and something else stands against it. */
function actorOrRefusal<T>(error: unknown, actor: T | false | null | undefined): T {
  if (error instanceof PlatformError) throw error;
  if (error !== null && error !== undefined) throw error;
  if (!actor) throw unauthenticated();
  return actor;
}

class ApiTokenGuard extends AuthGuard('holdfast-token') {
  override handleRequest<T>(error: unknown, actor: T | false | null | undefined): T {
    return actorOrRefusal(error, actor);
  }
}

class SessionGuard extends AuthGuard('holdfast-session') {
  override handleRequest<T>(error: unknown, actor: T | false | null | undefined): T {
    return actorOrRefusal(error, actor);
  }
}

/** Stands before every route: who is it, and may they? A route that does not say who may call it is refused to everybody. */
@Injectable()
export class AccessGuard implements CanActivate {
  readonly #byToken = new ApiTokenGuard();
  readonly #bySession = new SessionGuard();

  constructor(
    private readonly reflector: Reflector,
    private readonly secrets: Secrets,
  ) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const access = this.reflector.getAllAndOverride<Access | undefined>(ACCESS, [context.getHandler(), context.getClass()]);
    if (access === undefined) throw accessDenied();
    if (access.audience === 'public') return true;
    const request = context.switchToHttp().getRequest<HttpRequest & { user?: Actor }>();
    // By the header alone: the bearer strategy would also take a token from the address or the body, where logs find it.
    const guard = request.headers.authorization === undefined ? this.#bySession : this.#byToken;
    await guard.canActivate(context);
    const actor = request.user;
    if (actor === undefined) throw unauthenticated();
    request.actor = actor;
    request.principal = { tenantId: actor.kind === 'user' ? actor.tenantId : null, actorId: actor.id };
    if (actor.credential.kind === 'session') refuseForgedRequest(request, this.secrets.pepper);
    if (!mayCall(actor, access)) throw accessDenied();
    return true;
  }
}

function mayCall(actor: Actor, access: Exclude<Access, { audience: 'public' }>): boolean {
  if (access.audience === 'anyone-signed-in') return true;
  const isTheirs = actor.kind === (access.audience === 'tenant' ? 'user' : 'operator');
  return isTheirs && permissionsOf(actor).includes(access.permission);
}

/** Another site can make a browser send the cookie, but can neither read nor set this header. */
function refuseForgedRequest(request: HttpRequest, pepper: Redacted<Buffer>): void {
  if (SAFE_METHODS.has(request.method)) return;
  const expected = csrfTokenOf(pepper, sessionTokenOf(request) ?? '');
  const given = request.headers[CSRF_HEADER];
  if (typeof given !== 'string' || !equals(Buffer.from(given), Buffer.from(expected))) throw csrfRefused();
}
