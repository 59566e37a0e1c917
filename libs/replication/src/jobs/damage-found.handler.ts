import { type EventContext, OutboxHandler } from '#libs/platform';
import { damageFound } from './events.js';

/** The alarm: an object of a chain is damaged. Points that show it are not used without a word, and the health of the VM's replication is Critical. */
export class DamageFoundHandler extends OutboxHandler<{ readonly tenantId: string; readonly chainId: string }> {
  readonly topic = damageFound;

  async handle({ tenantId, chainId }: { readonly tenantId: string; readonly chainId: string }, { logger }: EventContext): Promise<void> {
    logger.error(
      { tenantId, chainId, alarm: 'chain-damaged' },
      'an object of a replica chain is damaged; recovery points that show it are in quarantine',
    );
  }
}
