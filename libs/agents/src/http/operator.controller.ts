import { Body, Controller, Get, Post } from '@nestjs/common';
import { z } from 'zod';
import { createdEnrolmentToken, createReplicaNodeToken, receiverView } from '#libs/contracts/http';
import { PlatformUnitOfWork, Responds, SecretAnswer } from '#libs/platform';
import { CurrentActor, OperatorRoute, type Actor } from '#libs/tenancy';
import { listReceivers } from '../tables/receivers.js';
import { CreateEnrolmentToken } from '../use-cases/create-enrolment-token.js';
import { toReceiverView, toTokenView } from './views.js';

const receivers = z.object({ items: z.array(receiverView) });

@Controller('api/v1/operator')
export class AgentsOperatorController {
  constructor(
    private readonly platform: PlatformUnitOfWork,
    private readonly createToken: CreateEnrolmentToken,
  ) {}

  @Post('replica-node-enrolment-tokens')
  @OperatorRoute('cluster:write')
  @SecretAnswer()
  @Responds(201, createdEnrolmentToken)
  async createReplicaNodeToken(
    @CurrentActor() actor: Actor,
    @Body({ schema: createReplicaNodeToken }) wish: z.infer<typeof createReplicaNodeToken>,
  ): Promise<z.infer<typeof createdEnrolmentToken>> {
    const { row, text } = await this.createToken.forReplicaNode(actor, wish);
    return { ...toTokenView(row), token: text.reveal() };
  }

  @Get('receivers')
  @OperatorRoute('provider:read')
  @Responds(200, receivers)
  async receivers(): Promise<z.infer<typeof receivers>> {
    return { items: (await this.platform.run(listReceivers)).map(toReceiverView) };
  }
}
