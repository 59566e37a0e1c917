import { type ArgumentsHost, Catch, type ExceptionFilter } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { Logger } from '#libs/kernel';
import { toProblem } from './problem.js';
import type { HttpRequest } from './request.js';

/** Where the error does not say it itself, as `retryAfterSeconds` among its details. */
const RETRY_AFTER_SECONDS = 2;

/** The one place where an error becomes an answer: problem+json, by the error's kind. */
@Catch()
export class ProblemFilter implements ExceptionFilter {
  constructor(private readonly logger: Logger) {}

  catch(error: unknown, host: ArgumentsHost): void {
    const request = host.switchToHttp().getRequest<HttpRequest>();
    const reply = host.switchToHttp().getResponse<FastifyReply>();
    const { problem, isFault } = toProblem(error, request.id);
    if (isFault)
      this.logger.error(
        { error, requestId: request.id, route: request.routeOptions?.url, principal: request.principal },
        'a request failed',
      );
    if (reply.sent || reply.raw.headersSent) {
      reply.raw.destroy();
      return;
    }
    if (problem.status === 503 || problem.status === 429)
      void reply.header('retry-after', String(problem.details?.['retryAfterSeconds'] ?? RETRY_AFTER_SECONDS));
    if (problem.status === 401) void reply.header('www-authenticate', 'Bearer');
    // As bytes: a serializer chosen by the route must not touch it.
    void reply.status(problem.status).header('content-type', 'application/problem+json; charset=utf-8').send(JSON.stringify(problem));
  }
}
