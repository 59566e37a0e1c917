import { createParamDecorator, SetMetadata, type ExecutionContext } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { assert } from '#libs/kernel';
import { refusals } from '../domain/errors.js';
import type { AgentPeer, Peer, ReplicaNodePeer } from '../domain/peer.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** Set by the receiver's guard. */
    peer?: Peer;
  }
}

export const ACCEPTS_SUPERSEDED = 'holdfast:accepts-superseded';

/** For the renewal route: a certificate that was replaced gets this far, so that its reappearance can lock the identity. */
export const AcceptsSuperseded = (): MethodDecorator => SetMetadata(ACCEPTS_SUPERSEDED, true);

function peerOf(context: ExecutionContext): Peer {
  const { peer } = context.switchToHttp().getRequest<FastifyRequest>();
  assert(peer !== undefined, 'every route of a receiver stands behind its guard');
  return peer;
}

/** Whoever sent the request: an agent or a replica node. */
export const CurrentPeer = createParamDecorator((_: unknown, context: ExecutionContext): Peer => peerOf(context));

/** The agent that sent the request; a replica node is refused with `identity.wrong-role`. */
export const CurrentAgent = createParamDecorator((_: unknown, context: ExecutionContext): AgentPeer => {
  const peer = peerOf(context);
  if (peer.role !== 'agent') throw refusals.wrongRole();
  return peer;
});

/** The replica node that sent the request; an agent is refused with `identity.wrong-role`. */
export const CurrentReplicaNode = createParamDecorator((_: unknown, context: ExecutionContext): ReplicaNodePeer => {
  const peer = peerOf(context);
  if (peer.role !== 'replica-node') throw refusals.wrongRole();
  return peer;
});
