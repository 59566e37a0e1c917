import type { z } from 'zod';
import {
  apiTokensView,
  type ApiTokenView,
  createdApiToken,
  type createApiToken,
  type logIn,
  meView,
  type MeView,
  type operatorLogIn,
} from '#libs/contracts/http';
import { Resource, segment } from './resource.js';
import type { CallOptions } from './transport.js';

/** Who is signed in. Signing in keeps the session for every later request of the client. */
export class AuthRoutes extends Resource {
  async logIn(body: z.input<typeof logIn>, options?: CallOptions): Promise<MeView> {
    return this.#welcome(await this.transport.json(meView, { method: 'POST', path: '/auth/login', body }, options));
  }

  /** As one of the provider's people. */
  async operatorLogIn(body: z.input<typeof operatorLogIn>, options?: CallOptions): Promise<MeView> {
    return this.#welcome(await this.transport.json(meView, { method: 'POST', path: '/auth/operator-login', body }, options));
  }

  /** Throws with kind `unauthenticated` when nobody is signed in. */
  async me(options?: CallOptions): Promise<MeView> {
    return this.#welcome(await this.transport.json(meView, { method: 'GET', path: '/auth/me' }, options));
  }

  async logOut(options?: CallOptions): Promise<void> {
    await this.transport.nothing({ method: 'POST', path: '/auth/logout' }, options);
    this.transport.forgetSession();
  }

  #welcome(me: MeView): MeView {
    this.transport.useCsrfToken(me.csrfToken);
    return me;
  }
}

/** One's own tokens. */
export class ApiTokenRoutes extends Resource {
  list(options?: CallOptions): Promise<{ items: ApiTokenView[] }> {
    return this.transport.json(apiTokensView, { method: 'GET', path: '/api-tokens' }, options);
  }

  /** The only answer that carries the token itself. */
  create(body: z.input<typeof createApiToken>, options?: CallOptions): Promise<z.output<typeof createdApiToken>> {
    return this.transport.json(createdApiToken, { method: 'POST', path: '/api-tokens', body }, options);
  }

  revoke(id: string, options?: CallOptions): Promise<void> {
    return this.transport.nothing({ method: 'DELETE', path: `/api-tokens/${segment(id)}` }, options);
  }
}
