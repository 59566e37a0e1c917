import { Injectable, type CallHandler, type ExecutionContext, type NestInterceptor } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { catchError, type Observable } from 'rxjs';
import { PlatformError } from '#libs/kernel';
import { refOfPeer } from '../domain/peer.js';
import { RefusalLog } from './refusal-log.js';

/** What a route refuses an admitted peer goes into the audit log too, before the peer is answered. */
@Injectable()
export class RefusalInterceptor implements NestInterceptor {
  constructor(private readonly refusalLog: RefusalLog) {}

  intercept(context: ExecutionContext, next: CallHandler): Observable<unknown> {
    const request = context.switchToHttp().getRequest<FastifyRequest>();
    return next.handle().pipe(
      catchError(async (error: unknown) => {
        if (error instanceof PlatformError && request.peer !== undefined)
          await this.refusalLog.note(refOfPeer(request.peer), error, request);
        throw error;
      }),
    );
  }
}
