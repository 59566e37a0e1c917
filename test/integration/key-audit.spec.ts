import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { AuditEventView, ExportView } from '#libs/contracts/http';
import { newId, type RecoveryPointId, type ReplicaNodeId, type TenantId } from '#libs/kernel';
import { FileKeyProvider, sha256Hex } from '#libs/pki';
import { findPointSource, GrantKeys } from '#libs/replication';
import { AuditLog } from '#libs/tenancy';
import { FailoverWorld } from '../support/failover-world.js';
import { contentOf, expectOk, type ProtectedVm } from '../support/protected-vm.js';
import { TestReplicaNode } from '../support/test-replica-node.js';

/* Who came to read what of a tenant, as its own audit log tells it; and to whom no key is ever given. */

let world: FailoverWorld;
let vm: ProtectedVm;
let node: TestReplicaNode;
let pointId: RecoveryPointId;
let grants: GrantKeys;

beforeAll(async () => {
  world = await FailoverWorld.start();
  vm = await world.protect();
  node = await TestReplicaNode.enrol(world.site, 'rn1.provider.example');
  await node.report();
  const { body } = await world.get(`/api/v1/relationships/${vm.id}/recovery-points`);
  pointId = body.items[0].id as RecoveryPointId;
  const keys = await FileKeyProvider.open(world.site.shared.KEYS_DIR!, world.site.shared.KEK!);
  grants = new GrantKeys(world.database.unitOfWork, await world.database.platform(), world.store, keys, new AuditLog());
});
afterAll(() => world?.stop());

async function entries(wanted: string) {
  const { body } = await world.get('/api/v1/audit-events?limit=200');
  return (body.items as AuditEventView[])
    .filter(({ action }) => action === wanted)
    .map(({ actorKind, actorId, actorName, subjectKind, subjectId, details }) => ({
      actor: { kind: actorKind, id: actorId, name: actorName },
      subject: { kind: subjectKind, id: subjectId },
      details,
    }));
}

const grant = async (nodeId: ReplicaNodeId, id = newId()) => {
  const tenantId = world.tenant.id as TenantId;
  const point = await world.database.unitOfWork.run(tenantId, (tx) => findPointSource(tx, pointId));
  return grants.execute(tenantId, point, nodeId, { kind: 'export', id });
};

describe('the audit log of the tenant', () => {
  it('says which node was given the keys of which point, and for what, once for a grant', async () => {
    const { id } = await world.failOver(vm, 'Test');
    await node.bringUp(id);
    await world.until(id, 'Running');
    const told = await entries('keys.granted');
    expect(told).toHaveLength(1);
    expect(told[0]).toMatchObject({
      actor: { kind: 'system' },
      subject: { kind: 'recovery-point', id: pointId },
      details: { for: 'failover', forId: id, replicaNodeId: node.id, replicaNode: node.fqdn, keyCount: 2 },
    });
    const again = newId();
    for (let time = 0; time < 3; time += 1) await grant(node.id, again);
    expect(await entries('keys.granted')).toHaveLength(2);
    await grant(node.id);
    expect(await entries('keys.granted')).toHaveLength(3);
    await world.post(`/api/v1/failovers/${id}/cancel`);
    await node.takeDown(id);
    await world.until(id, 'Cancelled');
  });

  it('says what was written in the clear, and who fetched it first', async () => {
    const wish = { diskOrdinal: 0, format: 'raw' };
    const { id } = (await world.post(`/api/v1/recovery-points/${pointId}/exports`, wish)).body as ExportView;
    const command = await node.command('point.export', id);
    const plain = contentOf(command.payload.source.point.cycle, 0);
    const file = { sizeBytes: plain.length, sha256: sha256Hex(plain) };
    await world.store.put(command.payload.objectKey, plain, file);
    await node.answer(command, { data: { ...file, uniqueId: null, timestampSeconds: null } });
    expect(await entries('export.written')).toMatchObject([
      { actor: { kind: 'replica-node', id: node.id }, subject: { kind: 'export', id }, details: { recoveryPointId: pointId, ...file } },
    ]);
    const path = `/api/v1/exports/${id}/content`;
    const { headers } = world.admin;
    await world.site.api.request().head(path).set(headers).expect(200);
    expect(await entries('export.fetched')).toEqual([]);
    for (const range of ['bytes=0-9', 'bytes=10-19']) await world.site.api.request().get(path).set(headers).set({ range }).expect(206);
    await world.site.api.request().get(path).set(headers).expect(200);
    const operator = await world.tenant.person('operator');
    await world.site.api.request().get(path).set(operator.headers).expect(200);
    const fetched = await entries('export.fetched');
    expect(fetched.map(({ actor }) => actor.id).toSorted()).toEqual([world.admin.id, operator.id].toSorted());
    expect(fetched[0]).toMatchObject({ subject: { kind: 'export', id }, details: { recoveryPointId: pointId } });
  });

  it('says which agent opened which point, however often it does', async () => {
    const base = `/replication/v1/relationships/${vm.id}/views`;
    const open = (viewId: string) =>
      expectOk(vm.agent.send('PUT', `${base}/${viewId}`, JSON.stringify({ pointId }), { 'content-type': 'application/json' }));
    const view = newId();
    for (const viewId of [view, view, newId(), newId()]) await open(viewId);
    expect(await entries('point.opened')).toMatchObject([
      { actor: { kind: 'agent', id: vm.agent.id, name: 'hv1.contoso.example' }, subject: { kind: 'recovery-point', id: pointId } },
    ]);
  });

  it('is whole', async () => {
    const check = await world.database.unitOfWork.run(world.tenant.id as TenantId, (tx) => new AuditLog().verify(tx, world.tenant.id));
    expect(check).toMatchObject({ brokenAt: null });
  });
});

describe('a key is never given', () => {
  it('to a node that this installation does not know, nor to one that is shut out', async () => {
    const before = (await entries('keys.granted')).length;
    await expect(grant(newId<ReplicaNodeId>())).rejects.toMatchObject({ code: 'cluster.node-gone' });
    const other = await TestReplicaNode.enrol(world.site, 'rn2.provider.example');
    await expect(grant(other.id)).resolves.toHaveLength(2);
    await world.database.asSuperuser(`update replica_node_identity set state = 'revoked' where id = $1`, [other.id]);
    await expect(grant(other.id)).rejects.toMatchObject({ code: 'cluster.node-gone' });
    expect(await entries('keys.granted')).toHaveLength(before + 1);
  });
});
