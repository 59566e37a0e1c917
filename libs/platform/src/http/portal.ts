import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import fastifyStatic from '@fastify/static';
import type { FastifyInstance } from 'fastify';
import type { Logger } from '#libs/kernel';

/** Addresses that belong to programs: an unknown one is an error there, not the portal's front page. */
const NOT_THE_PORTAL = /^\/(api|health|docs)(\/|$)/;

/** Serves the built portal: its files as they are, its front page for every other address, so that links into it work. */
export async function servePortal(fastify: FastifyInstance, dir: string, logger: Logger): Promise<void> {
  if (!existsSync(join(dir, 'index.html'))) {
    logger.warn({ dir }, 'there are no pages: the portal is not built');
    return;
  }
  await fastify.register(fastifyStatic, {
    root: resolve(dir),
    wildcard: false,
    index: false,
    decorateReply: true,
    immutable: false,
    maxAge: 0,
  });
  fastify.get('/*', (request, reply) => {
    if (NOT_THE_PORTAL.test(request.url)) return reply.callNotFound();
    return reply.sendFile('index.html');
  });
}
