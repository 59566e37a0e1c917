import type { Socket } from 'node:net';
import type { PeerIdentity } from './peer-identity.js';

/** The open connections of a listener and who is at the other end, so that a revocation can cut them. */
export class PeerRegistry {
  private readonly identities = new Map<Socket, PeerIdentity>();

  get size(): number {
    return this.identities.size;
  }

  /** Registers until the socket closes. */
  add(socket: Socket, identity: PeerIdentity): void {
    this.identities.set(socket, identity);
    // Nothing of TLS may be asked of a socket in its 'close' handler: on some runtimes that ends the process.
    socket.once('close', () => this.identities.delete(socket));
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
}
