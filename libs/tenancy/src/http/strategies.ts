import { Injectable } from '@nestjs/common';
import { PassportStrategy } from '@nestjs/passport';
import { Strategy as CustomStrategy } from 'passport-custom';
import { Strategy as BearerStrategy } from 'passport-http-bearer';
import type { Actor } from '../domain/actor.js';
import { Authenticate } from '../use-cases/authenticate.js';
import { type CookieRequest, sessionTokenOf } from './session-cookie.js';

/** `Authorization: Bearer hft_…`. */
@Injectable()
export class ApiTokenStrategy extends PassportStrategy(BearerStrategy, 'holdfast-token') {
  constructor(private readonly credentials: Authenticate) {
    super();
  }

  async validate(token: string): Promise<Actor | false> {
    return (await this.credentials.apiToken(token)) ?? false;
  }
}

/** The session's cookie. */
@Injectable()
export class SessionStrategy extends PassportStrategy(CustomStrategy, 'holdfast-session') {
  constructor(private readonly credentials: Authenticate) {
    super();
  }

  async validate(request: CookieRequest): Promise<Actor | false> {
    const token = sessionTokenOf(request);
    return token === undefined ? false : ((await this.credentials.session(token)) ?? false);
  }
}
