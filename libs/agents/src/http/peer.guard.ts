import { Injectable, type CanActivate, type ExecutionContext } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import type { FastifyRequest } from 'fastify';
import { PlatformError } from '#libs/kernel';
import { peerIdentityOf } from '#libs/pki';
import { refusals } from '../domain/errors.js';
import { ACCEPTS_SUPERSEDED } from './current-peer.js';
import { PeerDirectory, refOf } from './peer-directory.js';
import { RefusalLog } from './refusal-log.js';

/** Stands before every route of a receiver: nobody gets past whose certificate, issuer, row or absence from the denylist does not hold now. */
@Injectable()
export class PeerGuard implements CanActivate {
  constructor(
    private readonly directory: PeerDirectory,
    private readonly refusalLog: RefusalLog,
    private readonly reflector: Reflector,
  ) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const request = context.switchToHttp().getRequest<FastifyRequest>();
    const identity = peerIdentityOf(request.raw.socket);
    request.principal = { tenantId: identity.tenantId, actorId: identity.id };
    try {
      const peer = await this.directory.admit(identity);
      if (peer.certificate === 'superseded' && this.reflector.get(ACCEPTS_SUPERSEDED, context.getHandler()) !== true)
        throw refusals.superseded();
      request.peer = peer;
      return true;
    } catch (error) {
      if (error instanceof PlatformError) await this.refusalLog.note(refOf(identity), error, request);
      throw error;
    }
  }
}
