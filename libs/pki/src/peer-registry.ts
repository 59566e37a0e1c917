import type { Socket } from 'node:net';
import { CodedError } from '#libs/kernel';
import type { PeerIdentity } from './peer-identity.js';

export interface ConnectionLimits {
  /** Open at a time under one identity, whichever of its certificates they came with. */
  readonly perIdentity: number;
  /** What the listener takes. No tenant may have more of it than is still free: one alone gets half, and there is always room for another. */
  readonly inAll: number;
}

export const CONNECTION_LIMITS: ConnectionLimits = { perIdentity: 32, inAll: 8_192 };

/** The open connections of a listener and who is at the other end: so many for each, and a revocation can cut them. */
export class PeerRegistry {
  private readonly identities = new Map<Socket, PeerIdentity>();
  private readonly perIdentity = new Map<string, number>();
  private readonly perTenant = new Map<string | null, number>();

  constructor(private readonly limits: ConnectionLimits = CONNECTION_LIMITS) {}

  get size(): number {
    return this.identities.size;
  }

  /** Registers until the socket closes. Throws `connection.too-many`, `connection.tenant-too-many`. */
  add(socket: Socket, identity: PeerIdentity): void {
    const { perIdentity, inAll } = this.limits;
    if ((this.perIdentity.get(identity.id) ?? 0) >= perIdentity)
      throw new CodedError('connection.too-many', 'exhausted', `at most ${perIdentity} connections under one identity`, {
        id: identity.id,
      });
    const { tenantId } = identity;
    if (tenantId !== null && (this.perTenant.get(tenantId) ?? 0) >= inAll - this.size)
      throw new CodedError('connection.tenant-too-many', 'exhausted', "one tenant's hosts have as many connections as are free", {
        tenantId,
      });
    this.identities.set(socket, identity);
    this.count(identity, 1);
    // Nothing of TLS may be asked of a socket in its 'close' handler: on some runtimes that ends the process.
    socket.once('close', () => {
      this.identities.delete(socket);
      this.count(identity, -1);
    });
  }

  /** Destroys every connection whose peer is matched, at once, uploads in progress too; returns how many. */
  destroy(matches: (identity: PeerIdentity) => boolean): number {
    let destroyed = 0;
    for (const [socket, identity] of this.identities) {
      if (!matches(identity)) continue;
      socket.destroy();
      destroyed += 1;
    }
    return destroyed;
  }

  private count({ id, tenantId }: PeerIdentity, by: 1 | -1): void {
    addTo(this.perIdentity, id, by);
    addTo(this.perTenant, tenantId, by);
  }
}

function addTo<K>(counts: Map<K, number>, key: K, by: number): void {
  const count = (counts.get(key) ?? 0) + by;
  if (count === 0) counts.delete(key);
  else counts.set(key, count);
}
