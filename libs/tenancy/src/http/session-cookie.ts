import '@fastify/cookie';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { SESSION_LIFE_MS } from '../use-cases/log-in.js';

export const SESSION_COOKIE = 'holdfast_session';

export type CookieRequest = Pick<FastifyRequest, 'cookies'>;

export function sessionTokenOf(request: CookieRequest): string | undefined {
  return request.cookies[SESSION_COOKIE];
}

/** Not for scripts, not for other sites, and over TLS only wherever there is TLS. */
export function setSessionCookie(request: FastifyRequest, reply: FastifyReply, token: string): void {
  void reply.setCookie(SESSION_COOKIE, token, { ...attributes(request), maxAge: SESSION_LIFE_MS / 1_000 });
}

export function clearSessionCookie(request: FastifyRequest, reply: FastifyReply): void {
  void reply.clearCookie(SESSION_COOKIE, attributes(request));
}

function attributes(request: FastifyRequest): { httpOnly: true; sameSite: 'lax'; path: '/'; secure: boolean } {
  return { httpOnly: true, sameSite: 'lax', path: '/', secure: request.protocol === 'https' };
}
