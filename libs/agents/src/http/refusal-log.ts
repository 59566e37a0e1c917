import type { BeforeApplicationShutdown, OnApplicationBootstrap } from '@nestjs/common';
import type { FastifyRequest } from 'fastify';
import { MINUTE_MS, type Clock, type ErrorKind, type Logger, type PlatformError } from '#libs/kernel';
import { Loop } from '#libs/platform';
import type { AuditEntry, AuditLog } from '#libs/tenancy';
import type { IdentityRef } from '../domain/peer.js';
import { RefusalTally, type CountedRefusals } from '../domain/refusal-tally.js';
import type { IdentityTransactions } from '../tables/identity-transactions.js';

/** Refusals that say something about the peer; an overloaded server or a malformed request says nothing. */
const AUDITED: ReadonlySet<ErrorKind> = new Set<ErrorKind>(['unauthenticated', 'forbidden', 'not-found']);

interface Refused {
  readonly ref: IdentityRef;
  /** Null for identities that nobody enrolled: whoever makes them up makes up many. */
  readonly id: string | null;
  readonly remoteAddress: string;
}

/**
 * Writes into the audit log what a peer was refused: in the log of its own tenant, or the provider's for a replica node. Every
 * attempt is accounted for, and nobody can flood a log: a peer's first thirty refusals are events of their own, then one a
 * minute is; the others of each minute are one event together, which tells how many `attempts` it stands for. All identities
 * of a tenant that nobody enrolled count as one peer.
 *
 * What was only counted is written each minute and when the receiver stops; a receiver that is killed loses a minute of counts.
 */
export class RefusalLog implements OnApplicationBootstrap, BeforeApplicationShutdown {
  private readonly tally = new RefusalTally<Refused>();
  private readonly writing: Loop;

  constructor(
    private readonly identities: IdentityTransactions,
    private readonly audit: AuditLog,
    private readonly clock: Clock,
    private readonly logger: Logger,
  ) {
    this.writing = new Loop({ name: 'refusal-log', intervalMs: MINUTE_MS, clock, logger, work: () => this.writeCounted() });
  }

  onApplicationBootstrap(): void {
    this.writing.start();
  }

  async beforeApplicationShutdown(): Promise<void> {
    await this.writing.stop();
    await this.writeCounted();
  }

  async note(ref: IdentityRef, error: PlatformError, request: FastifyRequest): Promise<void> {
    if (!AUDITED.has(error.kind)) return;
    const isEnrolled = error.code !== 'identity.unknown';
    const account = isEnrolled ? ref.id : `unknown of ${ref.tenantId ?? 'the provider'}`;
    const { ip: remoteAddress } = request;
    if (this.tally.spend(account, this.clock.monotonicMs())) {
      const details = { code: error.code, method: request.method, route: request.routeOptions.url ?? 'none', remoteAddress, attempts: 1 };
      if (await this.write(ref, { ...entryOf(ref, ref.id), details, requestId: request.id })) return;
    }
    const last = { ref, id: isEnrolled ? ref.id : null, remoteAddress };
    this.tally.count({ account, attempts: 1, codes: [error.code], since: this.clock.now(), last }, this.clock.monotonicMs());
  }

  /** What cannot be written now is written with what comes next. */
  private async writeCounted(): Promise<void> {
    for (const counted of this.tally.takeCounted()) {
      if (!(await this.write(counted.last.ref, summaryOf(counted)))) this.tally.count(counted, this.clock.monotonicMs());
    }
  }

  private async write(ref: IdentityRef, entry: AuditEntry): Promise<boolean> {
    try {
      await this.identities.run(ref, (tx) => this.audit.append(tx, entry));
      return true;
    } catch (failure) {
      this.logger.warn({ error: failure, refusal: entry }, 'a refusal could not be written into the audit log');
      return false;
    }
  }
}

function summaryOf({ attempts, codes, since, last }: CountedRefusals<Refused>): AuditEntry {
  return { ...entryOf(last.ref, last.id), details: { codes, remoteAddress: last.remoteAddress, attempts, since: since.toISOString() } };
}

function entryOf({ role }: IdentityRef, id: string | null): Omit<AuditEntry, 'details'> {
  return {
    actor: { kind: role, id, name: id ?? 'unknown' },
    action: 'peer.refused',
    ...(id === null ? {} : { subject: { kind: role, id } }),
    outcome: 'refused',
  };
}
