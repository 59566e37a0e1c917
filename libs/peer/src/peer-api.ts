import type { z } from 'zod';
import { commandsAnswer, reportAnswer, type Command, type CommandResult, type Report } from '#libs/contracts/commands';
import { renewalAnswer, selfAnswer, type RenewalAnswer, type RenewalRequest } from '#libs/contracts/wire';
import { CodedError, retry, SECOND_MS, type Clock, type RetryPolicy } from '#libs/kernel';
import type { CommandSource } from './command-loop.js';
import type { ReceiverClient } from './receiver-client.js';

export type RequestRetries = Pick<RetryPolicy, 'attemptsMax' | 'firstDelayMs' | 'delayMaxMs'>;

/** For calls that are safe to repeat: a receiver that restarts is bridged, one that stays away is the caller's matter. */
export const REQUEST_RETRIES: RequestRetries = { attemptsMax: 5, firstDelayMs: 300, delayMaxMs: 5 * SECOND_MS };

/** The routes of a receiver that agents and replica nodes have in common, typed. */
export class PeerApi implements CommandSource {
  constructor(
    private readonly client: ReceiverClient,
    private readonly clock: Clock,
    private readonly retries: RequestRetries = REQUEST_RETRIES,
  ) {}

  async commands(after: number, waitMs: number, signal: AbortSignal): Promise<Command[]> {
    const path = `/commands/v1?after=${after}&waitMs=${waitMs}`;
    const answer = await this.client.send({ method: 'GET', path, signal, answerTimeoutMs: waitMs + 20 * SECOND_MS });
    return takeAnswer(commandsAnswer, answer).commands;
  }

  async result(commandId: string, result: CommandResult, signal?: AbortSignal): Promise<void> {
    const path = `/commands/v1/${commandId}/result`;
    await this.#repeat(() => this.client.send({ method: 'POST', path, json: result, signal }), signal);
  }

  /** Returns the provider's time. */
  async report(report: Report, signal?: AbortSignal): Promise<Date> {
    const answer = await this.client.send({ method: 'POST', path: '/reports/v1', json: report, signal });
    return new Date(takeAnswer(reportAnswer, answer).serverTime);
  }

  async self(signal?: AbortSignal): Promise<z.infer<typeof selfAnswer>> {
    return takeAnswer(selfAnswer, await this.#repeat(() => this.client.send({ method: 'GET', path: '/identity/v1/self', signal }), signal));
  }

  /** Safe to repeat: until its first use a renewed certificate counts for nothing, and a further one takes its place. */
  async renewIdentity(request: RenewalRequest, signal?: AbortSignal): Promise<RenewalAnswer> {
    const send = (): Promise<unknown> => this.client.send({ method: 'POST', path: '/identity/v1/renewals', json: request, signal });
    return takeAnswer(renewalAnswer, await this.#repeat(send, signal));
  }

  #repeat<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    return retry(this.retries, this.clock, work, signal);
  }
}

/** An answer as its contract says; `receiver.malformed-answer` for anything else. */
export function takeAnswer<T extends z.ZodType>(schema: T, answer: unknown): z.infer<T> {
  const parsed = schema.safeParse(answer);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const message = `the receiver's answer breaks the contract at ${issue?.path.join('.') || 'its root'}: ${issue?.message}`;
  throw new CodedError('receiver.malformed-answer', 'corrupt', message, {}, parsed.error);
}
