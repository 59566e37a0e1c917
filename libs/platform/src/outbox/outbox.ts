import { newId } from '#libs/kernel';
import type { AnyTx } from '../database/tx.js';
import type { Topic } from './topic.js';

/** Tells the worker, in the same transaction as the change itself: both happen or neither. */
export class Outbox {
  /**
   * `dedupeKey` names the operation (an id and its revision): while the event waits, a second one with the same key is
   * dropped. In a platform transaction the event belongs to `tenantId` from the payload if it carries one.
   */
  async add<T extends object>(tx: AnyTx, topic: Topic<T>, payload: NoInfer<T>, dedupeKey: string): Promise<void> {
    const data = topic.payload.parse(payload);
    const tenantId = tx.kind === 'tenant' ? tx.tenantId : ((data as { tenantId?: string }).tenantId ?? null);
    await tx.execute(
      `insert into outbox_event (id, tenant_id, topic, payload, dedupe_key) values ($1, $2, $3, $4, $5) on conflict do nothing`,
      [newId(), tenantId, topic.name, JSON.stringify(data), dedupeKey],
    );
  }
}
