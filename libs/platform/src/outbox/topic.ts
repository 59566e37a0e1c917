import { assert, type Logger } from '#libs/kernel';
import type { z } from 'zod';

/** A kind of event, and the shape of what it carries: ids only, never content, since queues keep it in clear. */
export interface Topic<T extends object = object> {
  readonly name: string;
  readonly payload: z.ZodType<T>;
}

const known = new Map<string, Topic>();

/** Declares `<feature>.<verb>`, once, in the feature that emits it. The worker refuses to start while a declared topic has no handler. */
export function defineTopic<T extends object>(name: string, payload: z.ZodType<T>): Topic<T> {
  assert(!known.has(name), `the topic ${name} is declared once`);
  const topic = { name, payload };
  known.set(name, topic);
  return topic;
}

export function declaredTopics(): readonly string[] {
  return [...known.keys()];
}

export interface EventContext {
  readonly eventId: string;
  /** Aborted when the process stops or the job is lost. */
  readonly signal: AbortSignal;
  readonly logger: Logger;
}

/**
 * Does what an event asks for. List the class among a worker module's providers and it is found at start.
 * Delivery is at least once and unordered: a second run must find nothing left to do. An `unavailable` or unknown error
 * is tried again; any other PlatformError sets the event aside with its code.
 */
export abstract class OutboxHandler<T extends object = object> {
  abstract readonly topic: Topic<T>;
  abstract handle(payload: T, context: EventContext): Promise<void>;
}
