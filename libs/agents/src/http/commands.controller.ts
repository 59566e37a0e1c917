import { Body, Controller, Get, Param, Post, Query, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import type { z } from 'zod';
import { uuid } from '#libs/contracts/common';
import {
  commandResult,
  commandsAnswer,
  commandsQuery,
  report,
  reportAnswer,
  type CommandResult,
  type Report,
} from '#libs/contracts/commands';
import { Clock } from '#libs/kernel';
import { Responds, Stopping } from '#libs/platform';
import type { Peer } from '../domain/peer.js';
import { FinishCommand } from '../use-cases/finish-command.js';
import { ReceiveCommands } from '../use-cases/receive-commands.js';
import { TakeReport } from '../use-cases/take-report.js';
import { CurrentPeer } from './current-peer.js';

/** At a receiver: what agents and replica nodes are told, and what they tell. */
@Controller()
export class CommandsController {
  constructor(
    private readonly receiveCommands: ReceiveCommands,
    private readonly finishCommand: FinishCommand,
    private readonly takeReport: TakeReport,
    private readonly stopping: Stopping,
    private readonly clock: Clock,
  ) {}

  @Get('commands/v1')
  @Responds(200, commandsAnswer)
  async receive(
    @CurrentPeer() peer: Peer,
    @Query({ schema: commandsQuery }) query: z.infer<typeof commandsQuery>,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Promise<z.infer<typeof commandsAnswer>> {
    const left = new AbortController();
    reply.raw.once('close', () => left.abort());
    const signal = AbortSignal.any([left.signal, this.stopping.signal]);
    return { commands: await this.receiveCommands.execute(peer, query.after, query.waitMs, signal) };
  }

  @Post('commands/v1/:id/result')
  @Responds(204)
  async finish(
    @CurrentPeer() peer: Peer,
    @Param('id', { schema: uuid }) id: string,
    @Body({ schema: commandResult }) result: CommandResult,
  ): Promise<void> {
    await this.finishCommand.execute(peer, id, result);
  }

  @Post('reports/v1')
  @Responds(200, reportAnswer)
  async report(@CurrentPeer() peer: Peer, @Body({ schema: report }) body: Report): Promise<z.infer<typeof reportAnswer>> {
    await this.takeReport.execute(peer, body);
    return { serverTime: this.clock.now().toISOString() };
  }
}
