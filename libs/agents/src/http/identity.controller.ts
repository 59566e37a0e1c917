import { Body, Controller, Get, Post } from '@nestjs/common';
import { Clock } from '#libs/kernel';
import { renewalAnswer, renewalRequest, selfAnswer, type RenewalAnswer, type RenewalRequest } from '#libs/contracts/wire';
import { Responds } from '#libs/platform';
import type { z } from 'zod';
import type { Peer } from '../domain/peer.js';
import { RenewIdentity } from '../use-cases/renew-identity.js';
import { AcceptsSuperseded, CurrentPeer } from './current-peer.js';

/** At a receiver: an identity's own affairs. */
@Controller('identity/v1')
export class IdentityController {
  constructor(
    private readonly renewIdentity: RenewIdentity,
    private readonly clock: Clock,
  ) {}

  @Post('renewals')
  @AcceptsSuperseded()
  @Responds(201, renewalAnswer)
  renew(@CurrentPeer() peer: Peer, @Body({ schema: renewalRequest }) request: RenewalRequest): Promise<RenewalAnswer> {
    return this.renewIdentity.execute(peer, request);
  }

  @Get('self')
  @Responds(200, selfAnswer)
  self(@CurrentPeer() peer: Peer): z.infer<typeof selfAnswer> {
    return {
      role: peer.role,
      identityId: peer.identityId,
      tenantId: peer.tenantId,
      dnsNames: [...peer.dnsNames],
      certificateSha256: peer.fingerprint,
      notAfter: peer.notAfter.toISOString(),
      serverTime: this.clock.now().toISOString(),
    };
  }
}
