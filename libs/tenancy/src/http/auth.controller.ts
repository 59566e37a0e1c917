import { Body, Controller, Get, Post, Req, Res } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { z } from 'zod';
import { logIn, meView, type MeView, operatorLogIn } from '#libs/contracts/http';
import { PlatformUnitOfWork, Responds, Secrets, UnitOfWork } from '#libs/platform';
import type { Actor } from '../domain/actor.js';
import { csrfTokenOf } from '../domain/credentials.js';
import { findTenant } from '../tables/tenants.js';
import { deleteSession } from '../tables/credentials.js';
import { LogIn, type SignedIn } from '../use-cases/log-in.js';
import { CurrentActor, PublicRoute, SignedInRoute } from './access.js';
import { clearSessionCookie, sessionTokenOf, setSessionCookie } from './session-cookie.js';
import { toMeView } from './views.js';

@ApiTags('auth')
@Controller('api/v1/auth')
export class AuthController {
  constructor(
    private readonly logIn: LogIn,
    private readonly unitOfWork: UnitOfWork,
    private readonly platformUnitOfWork: PlatformUnitOfWork,
    private readonly secrets: Secrets,
  ) {}

  /** Signs a person of a tenant in. */
  @Post('login')
  @PublicRoute()
  @Responds(200, meView)
  async login(
    @Body({ schema: logIn }) body: z.infer<typeof logIn>,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<MeView> {
    const signedIn = await this.logIn.tenantUser({ ...body, address: request.ip, requestId: request.id });
    return this.#welcome(signedIn, request, reply);
  }

  /** Signs a person of the provider in. */
  @Post('operator-login')
  @PublicRoute()
  @Responds(200, meView)
  async operatorLogin(
    @Body({ schema: operatorLogIn }) body: z.infer<typeof operatorLogIn>,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<MeView> {
    const signedIn = await this.logIn.operator({ ...body, address: request.ip, requestId: request.id });
    return this.#welcome(signedIn, request, reply);
  }

  /** Ends the session. A token is not ended by this: revoke it. */
  @Post('logout')
  @SignedInRoute()
  @Responds(204)
  async logout(
    @CurrentActor() actor: Actor,
    @Req() request: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<void> {
    if (actor.credential.kind === 'session') await this.platformUnitOfWork.run((tx) => deleteSession(tx, actor.credential.id));
    clearSessionCookie(request, reply);
  }

  /** Who is signed in, and what they may do. */
  @Get('me')
  @SignedInRoute()
  @Responds(200, meView)
  me(@CurrentActor() actor: Actor, @Req() request: FastifyRequest): Promise<MeView> {
    const token = sessionTokenOf(request);
    const isSession = actor.credential.kind === 'session' && token !== undefined;
    return this.#view(actor, isSession ? csrfTokenOf(this.secrets.pepper, token) : null);
  }

  #welcome(signedIn: SignedIn, request: FastifyRequest, reply: FastifyReply): Promise<MeView> {
    setSessionCookie(request, reply, signedIn.sessionToken);
    return this.#view(signedIn.actor, signedIn.csrfToken);
  }

  async #view(actor: Actor, csrfToken: string | null): Promise<MeView> {
    const tenant = actor.kind === 'user' ? await this.unitOfWork.run(actor.tenantId, (tx) => findTenant(tx, actor.tenantId)) : undefined;
    return toMeView(actor, tenant, csrfToken);
  }
}
