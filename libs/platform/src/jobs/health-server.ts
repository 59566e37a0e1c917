import { once } from 'node:events';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { BeforeApplicationShutdown, OnApplicationBootstrap } from '@nestjs/common';
import { CodedError, type Logger } from '#libs/kernel';
import { type ReadinessCheck, readinessOf } from '../http/readiness-check.js';

/** `/health/live` and `/health/ready` of a process that serves nothing else, on the loopback address, for whoever watches it. */
export class HealthServer implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private server: Server | undefined;

  /** Without a port it serves nothing. */
  constructor(
    private readonly port: number | undefined,
    private readonly checks: () => readonly ReadinessCheck[],
    private readonly logger: Logger,
  ) {}

  async onApplicationBootstrap(): Promise<void> {
    if (this.port === undefined) return;
    const server = createServer((request, response) => void this.respond(request.url ?? '', response));
    try {
      await once(server.listen(this.port, '127.0.0.1'), 'listening');
    } catch (error) {
      throw new CodedError('listen.port-taken', 'conflict', `port ${this.port} on 127.0.0.1 is taken by another program`, {}, error);
    }
    this.server = server;
  }

  async beforeApplicationShutdown(): Promise<void> {
    this.server?.closeAllConnections();
    this.server?.close();
  }

  private async respond(path: string, response: ServerResponse): Promise<void> {
    const { status, body } = await this.answer(path);
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  }

  private async answer(path: string): Promise<{ status: number; body: object }> {
    if (path === '/health/live') return { status: 200, body: { status: 'live' } };
    if (path !== '/health/ready') return { status: 404, body: {} };
    const body = await readinessOf(this.checks(), this.logger);
    return { status: body.status === 'ready' ? 200 : 503, body };
  }
}
