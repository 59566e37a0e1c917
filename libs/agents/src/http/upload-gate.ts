import { assert, MIB, SECOND_MS, type Clock, type CodedError } from '#libs/kernel';
import { refusals } from '../domain/errors.js';

export interface UploadLimits {
  /** At a time from one host; as many again may wait. */
  readonly perPeer: number;
  /** At a time from one tenant's hosts together. */
  readonly perTenant: number;
  /** At a time at this receiver. */
  readonly inAll: number;
  /** Memory for all bodies on their way. Must exceed the largest body that is held as a whole. */
  readonly bytesInAll: number;
  /** How many may wait for their turn. */
  readonly waiting: number;
  /** How long one may wait. Well below the time after which an agent takes a connection for dead. */
  readonly waitMs: number;
}

export const UPLOAD_LIMITS: UploadLimits = {
  perPeer: 4,
  perTenant: 16,
  inAll: 64,
  bytesInAll: 256 * MIB,
  waiting: 256,
  waitMs: 15 * SECOND_MS,
};

export interface UploadWish {
  readonly identityId: string;
  /** Null: the provider's own nodes, which share like one tenant. */
  readonly tenantId: string | null;
  /** What it will hold in memory at most. */
  readonly bytes: number;
  /** Aborts when the sender is gone: nobody waits for its place then. */
  readonly signal?: AbortSignal;
}

/** What one host or one tenant has of the receiver. */
class Share {
  uploads = 0;
  bytes = 0;
  waiting = 0;
  /** Rises with each place given: who was served longest ago has the lowest. */
  servedAt = 0;

  get isIdle(): boolean {
    return this.uploads === 0 && this.waiting === 0;
  }
}

interface Wish {
  readonly peer: Share;
  readonly tenant: Share;
  readonly bytes: number;
}

interface Waiter extends Wish {
  readonly admit: () => void;
  readonly refuse: (error: CodedError) => void;
}

/**
 * Decides whose upload is received now. One that does not fit waits, unread, so that its sender is held back by TCP; one that would make the queue too
 * long, or has waited too long, is sent away: 429 for a greedy peer or tenant, 503 for a busy receiver, both with a time to come back.
 *
 * Fair among tenants: nobody may have more than is still free, be it places, memory or room in the queue. So one tenant alone gets at
 * most half, two a third each, and there is always something left for the next who comes. A place that falls free goes to the tenant that has the fewest.
 */
export class UploadGate {
  private readonly peers = new Map<string, Share>();
  private readonly tenants = new Map<string | null, Share>();
  /** In the order of their coming. */
  private readonly queue = new Set<Waiter>();
  private uploads = 0;
  private heldBytes = 0;
  private served = 0;
  private received = 0;
  private isClosed = false;

  constructor(
    private readonly clock: Clock,
    private readonly limits: UploadLimits = UPLOAD_LIMITS,
  ) {}

  get uploadCount(): number {
    return this.uploads;
  }

  get waitingCount(): number {
    return this.queue.size;
  }

  /** Since the process started. */
  get receivedBytes(): number {
    return this.received;
  }

  countBytes(bytes: number): void {
    this.received += bytes;
  }

  /**
   * Resolves to a place for an upload; give it back by calling the answer, once or more. Throws `upload.too-many`, `upload.tenant-too-many`, `receiver.busy`,
   * `receiver.stopping`, and `upload.cut` when the sender is gone.
   */
  async enter({ identityId, tenantId, bytes, signal }: UploadWish): Promise<() => void> {
    assert(bytes <= this.limits.bytesInAll, 'an upload fits into the memory for uploads');
    if (this.isClosed) throw refusals.receiverStopping();
    const wish = { peer: shareOf(this.peers, identityId), tenant: shareOf(this.tenants, tenantId), bytes };
    const forget = (): void => {
      forgetIdle(this.peers, identityId, wish.peer);
      forgetIdle(this.tenants, tenantId, wish.tenant);
    };
    try {
      if (this.fits(wish)) this.take(wish);
      else await this.turn(wish, signal);
    } catch (error) {
      forget();
      throw error;
    }
    let isInside = true;
    return () => {
      if (!isInside) return;
      isInside = false;
      this.giveBack(wish);
      forget();
    };
  }

  /** From now on every upload is sent to another receiver, those that wait too; those inside go on. */
  close(): void {
    this.isClosed = true;
    for (const waiter of this.queue) this.refuse(waiter, refusals.receiverStopping());
  }

  /** Resolves when a place was taken for it. */
  private async turn(wish: Wish, signal: AbortSignal | undefined): Promise<void> {
    this.requireRoomInQueue(wish);
    if (signal?.aborted === true) throw refusals.uploadCut(wish.bytes, 0);
    const settled = new AbortController();
    try {
      await new Promise<void>((admit, refuse) => {
        const waiter = { ...wish, admit, refuse };
        this.queue.add(waiter);
        wish.peer.waiting += 1;
        wish.tenant.waiting += 1;
        signal?.addEventListener('abort', () => this.refuse(waiter, refusals.uploadCut(wish.bytes, 0)), { signal: settled.signal });
        this.clock.sleep(this.limits.waitMs, settled.signal).then(
          () => this.refuse(waiter, refusals.receiverBusy()),
          () => {},
        );
      });
    } finally {
      settled.abort();
    }
  }

  private requireRoomInQueue({ peer, tenant }: Wish): void {
    const { perPeer, perTenant, waiting } = this.limits;
    const free = waiting - this.queue.size;
    if (peer.waiting >= perPeer) throw refusals.tooManyUploads(perPeer);
    if (free <= 0) throw refusals.receiverBusy();
    if (tenant.waiting >= free) throw refusals.tooManyTenantUploads(perTenant);
  }

  private fits({ peer, tenant, bytes }: Wish): boolean {
    const { perPeer, perTenant, inAll, bytesInAll } = this.limits;
    const isWithinLimits = peer.uploads < perPeer && tenant.uploads < perTenant;
    const isWithinShare = tenant.uploads < inAll - this.uploads && tenant.bytes + bytes <= bytesInAll - this.heldBytes;
    return isWithinLimits && isWithinShare;
  }

  private take({ peer, tenant, bytes }: Wish): void {
    this.served += 1;
    this.uploads += 1;
    this.heldBytes += bytes;
    peer.uploads += 1;
    tenant.uploads += 1;
    tenant.bytes += bytes;
    tenant.servedAt = this.served;
  }

  private giveBack({ peer, tenant, bytes }: Wish): void {
    this.uploads -= 1;
    this.heldBytes -= bytes;
    peer.uploads -= 1;
    tenant.uploads -= 1;
    tenant.bytes -= bytes;
    for (let next = this.next(); next !== undefined; next = this.next()) {
      this.leaveQueue(next);
      this.take(next);
      next.admit();
    }
  }

  /** Of those that fit now: of the tenant with the fewest places, then of the one served longest ago, then who came first. */
  private next(): Waiter | undefined {
    let best: Waiter | undefined;
    for (const waiter of this.queue) {
      if (this.fits(waiter) && (best === undefined || isBefore(waiter.tenant, best.tenant))) best = waiter;
    }
    return best;
  }

  private refuse(waiter: Waiter, error: CodedError): void {
    if (this.leaveQueue(waiter)) waiter.refuse(error);
  }

  /** False when its turn came before. */
  private leaveQueue(waiter: Waiter): boolean {
    if (!this.queue.delete(waiter)) return false;
    waiter.peer.waiting -= 1;
    waiter.tenant.waiting -= 1;
    return true;
  }
}

function isBefore(one: Share, other: Share): boolean {
  return one.uploads === other.uploads ? one.servedAt < other.servedAt : one.uploads < other.uploads;
}

function shareOf<K>(shares: Map<K, Share>, owner: K): Share {
  let share = shares.get(owner);
  if (share === undefined) shares.set(owner, (share = new Share()));
  return share;
}

function forgetIdle<K>(shares: Map<K, Share>, owner: K, share: Share): void {
  if (share.isIdle && shares.get(owner) === share) shares.delete(owner);
}
