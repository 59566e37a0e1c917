import { Body, Controller, Delete, Get, Param, Post } from '@nestjs/common';
import { ApiTags } from '@nestjs/swagger';
import type { z } from 'zod';
import { uuid } from '#libs/contracts/common';
import { apiTokensView, createApiToken, createdApiToken } from '#libs/contracts/http';
import { Responds, SecretAnswer } from '#libs/platform';
import type { Actor } from '../domain/actor.js';
import { ApiTokens } from '../use-cases/api-tokens.js';
import { CurrentActor, RequestId, SignedInRoute } from './access.js';
import { toApiTokenView } from './views.js';

/** Everybody's own tokens, a tenant's people's as the provider's. */
@ApiTags('api tokens')
@Controller('api/v1/api-tokens')
@SignedInRoute()
export class ApiTokensController {
  constructor(private readonly apiTokens: ApiTokens) {}

  @Get()
  @Responds(200, apiTokensView)
  async list(@CurrentActor() actor: Actor): Promise<z.infer<typeof apiTokensView>> {
    return { items: (await this.apiTokens.list(actor)).map(toApiTokenView) };
  }

  /** The only answer that shows the token. */
  @Post()
  @SecretAnswer()
  @Responds(201, createdApiToken)
  async create(
    @CurrentActor() actor: Actor,
    @Body({ schema: createApiToken }) body: z.infer<typeof createApiToken>,
    @RequestId() requestId: string,
  ): Promise<z.infer<typeof createdApiToken>> {
    const { row, token } = await this.apiTokens.create(actor, body, requestId);
    return { ...toApiTokenView(row), token };
  }

  @Delete(':id')
  @Responds(204)
  revoke(@CurrentActor() actor: Actor, @Param('id', { schema: uuid }) id: string, @RequestId() requestId: string): Promise<void> {
    return this.apiTokens.revoke(actor, id, requestId);
  }
}
