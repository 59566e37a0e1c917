import { type EventContext, OutboxHandler } from '#libs/platform';
import { pointsRemoved } from './events.js';

/** Tells that there may be something to collect. */
export class PointsRemovedHandler extends OutboxHandler<{ readonly tenantId: string; readonly chainId: string }> {
  readonly topic = pointsRemoved;

  async handle({ tenantId, chainId }: { readonly tenantId: string; readonly chainId: string }, { logger }: EventContext): Promise<void> {
    logger.debug({ tenantId, chainId }, 'what only removed recovery points needed may be collected');
  }
}
