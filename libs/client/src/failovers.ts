import type { z } from 'zod';
import { pageOf } from '#libs/contracts/common';
import { failoverView, type FailoverView, type startFailover } from '#libs/contracts/http';
import { type Clock, CodedError, SECOND_MS } from '#libs/kernel';
import { type Page, Resource, segment } from './resource.js';
import { readServerEvents } from './server-events.js';
import type { CallOptions, Transport } from './transport.js';

const failoversPage = pageOf(failoverView);

const ENDED: ReadonlySet<FailoverView['state']> = new Set(['Completed', 'Cancelled', 'Failed']);
const RECONNECT_DELAY_MS = SECOND_MS;

export interface FailoverQuery extends CallOptions {
  readonly relationshipId?: string | undefined;
  readonly limit?: number | undefined;
}

/** Nothing will happen to it any more by itself. */
export function isFailoverEnded({ state }: Pick<FailoverView, 'state'>): boolean {
  return ENDED.has(state);
}

/** Bringing a VM up at the replica cluster. */
export class FailoverRoutes extends Resource {
  constructor(
    transport: Transport,
    private readonly clock: Clock,
  ) {
    super(transport);
  }

  /** Newest first. */
  list({ signal, ...query }: FailoverQuery = {}): Promise<Page<FailoverView>> {
    return this.transport.json(failoversPage, { method: 'GET', path: '/failovers', query }, { signal });
  }

  get(id: string, options?: CallOptions): Promise<FailoverView> {
    return this.transport.json(failoverView, { method: 'GET', path: `/failovers/${segment(id)}` }, options);
  }

  /** Start-VMFailover. Without a recovery point the newest is taken. */
  start(relationshipId: string, body: z.input<typeof startFailover>, options?: CallOptions): Promise<FailoverView> {
    return this.transport.json(
      failoverView,
      { method: 'POST', path: `/relationships/${segment(relationshipId)}/failovers`, body },
      options,
    );
  }

  /** Complete-VMFailover. */
  complete(id: string, options?: CallOptions): Promise<FailoverView> {
    return this.transport.json(failoverView, { method: 'POST', path: `/failovers/${segment(id)}/complete` }, options);
  }

  /** Stop-VMFailover. */
  cancel(id: string, options?: CallOptions): Promise<FailoverView> {
    return this.transport.json(failoverView, { method: 'POST', path: `/failovers/${segment(id)}/cancel` }, options);
  }

  /**
   * The failover now, and again at each change, until it has ended or the caller stops. A running VM is no end: whoever waits
   * for that stops at `Running`. A lost connection is made anew; what the api refuses is thrown.
   */
  async *watch(id: string, { signal }: CallOptions = {}): AsyncGenerator<FailoverView, void> {
    for (;;) {
      try {
        for await (const view of this.#events(id, signal)) {
          yield view;
          if (isFailoverEnded(view)) return;
        }
      } catch (error) {
        signal?.throwIfAborted();
        if (error instanceof CodedError && !error.isRetryable) throw error;
      }
      await this.clock.sleep(RECONNECT_DELAY_MS, signal);
    }
  }

  /** The VM console's picture, a PNG. Throws `screenshot.not-found` while there is none. */
  async screenshot(id: string, options?: CallOptions): Promise<Uint8Array> {
    const answer = await this.transport.response({ method: 'GET', path: `/failovers/${segment(id)}/screenshot` }, options);
    return new Uint8Array(await answer.arrayBuffer());
  }

  /** For an image in a page that is signed in. */
  screenshotUrl(id: string): string {
    return this.transport.url(`/failovers/${segment(id)}/screenshot`);
  }

  async *#events(id: string, signal: AbortSignal | undefined): AsyncGenerator<FailoverView> {
    const request = { method: 'GET', path: `/failovers/${segment(id)}/events` } as const;
    const { body } = await this.transport.response(request, { signal }, 'text/event-stream');
    if (body === null) return;
    for await (const { event, data } of readServerEvents(body)) {
      if (event === 'failover') yield failoverView.parse(JSON.parse(data));
    }
  }
}
