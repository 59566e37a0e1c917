import type { CallOptions, Transport } from './transport.js';

/** A page of a listing: `next` is the cursor for the page after it, null at the end. */
export interface Page<T> {
  readonly items: T[];
  readonly next: string | null;
}

export interface PageQuery extends CallOptions {
  readonly limit?: number | undefined;
  readonly after?: string | undefined;
}

/** The routes of one kind of thing. */
export abstract class Resource {
  constructor(protected readonly transport: Transport) {}
}

/** An id, or whatever a caller took for one, as one segment of a path. */
export const segment = (id: string): string => encodeURIComponent(id);
