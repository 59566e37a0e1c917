import { Socket } from 'node:net';
import { beforeEach, describe, expect, it } from 'vitest';
import { newId, type AgentId, type ReplicaNodeId, type TenantId } from '#libs/kernel';
import type { PeerIdentity } from './peer-identity.js';
import { PeerRegistry } from './peer-registry.js';

const certificate = { dnsNames: [], fingerprintSha256: '', serial: '', issuerFingerprintSha256: '', notAfter: new Date(0) };
const agentOf = (tenantId: TenantId): PeerIdentity => ({ ...certificate, role: 'agent', tenantId, id: newId<AgentId>() });

let registry: PeerRegistry;
beforeEach(() => (registry = new PeerRegistry({ perIdentity: 2, inAll: 6 })));

function open(identity: PeerIdentity): Socket {
  const socket = new Socket();
  registry.add(socket, identity);
  return socket;
}

async function close(socket: Socket): Promise<void> {
  const closed = new Promise((resolve) => socket.once('close', resolve));
  socket.destroy();
  await closed;
}

describe('PeerRegistry', () => {
  it('holds each identity to its number, over all of its certificates, and counts what is closed no more', async () => {
    const agent = agentOf(newId<TenantId>());
    const first = open(agent);
    open({ ...agent, fingerprintSha256: 'renewed' });
    expect(() => open(agent)).toThrow(expect.objectContaining({ code: 'connection.too-many', kind: 'exhausted' }));
    expect(registry.size).toBe(2);
    await close(first);
    open(agent);
    expect(registry.size).toBe(2);
  });

  it('leaves room for another tenant, however many hosts one has', () => {
    const [contoso, fabrikam] = [newId<TenantId>(), newId<TenantId>()];
    for (let host = 0; host < 3; host += 1) open(agentOf(contoso));
    const tooMany = expect.objectContaining({ code: 'connection.tenant-too-many' }) as Error;
    expect(() => open(agentOf(contoso))).toThrow(tooMany);
    open(agentOf(fabrikam));
    open(agentOf(fabrikam));
    expect(() => open(agentOf(fabrikam))).toThrow(tooMany);
    open({ ...certificate, role: 'replica-node', tenantId: null, id: newId<ReplicaNodeId>() });
    expect(registry.size).toBe(6);
  });
});
