import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { FailoverWorld } from '../support/failover-world.js';
import type { ProtectedVm } from '../support/protected-vm.js';
import { TestReplicaNode } from '../support/test-replica-node.js';

/* What goes wrong while a VM is brought up: nodes that fail, die or are not there, a queue that forgets, a worker that ends. */

let world: FailoverWorld;
let node: TestReplicaNode;
let vm: ProtectedVm;
let nodes = 0;

beforeAll(async () => {
  world = await FailoverWorld.start();
});
afterAll(() => world?.stop());
beforeEach(async () => {
  nodes += 1;
  node = await TestReplicaNode.enrol(world.site, `rn${nodes}.provider.example`);
  await node.report();
  vm = await world.protect();
});
afterEach(() => revoke(node));

const revoke = (gone: TestReplicaNode) =>
  world.post(`/api/v1/operator/replica-nodes/${gone.id}/revoke`, { reason: 'the test is over' }, world.site.api.operator);

/** Lets the owner's lease be over, as after a minute without a word. */
const fallSilent = (failoverId: string) =>
  world.database.asSuperuser(`update replica_ownership set lease_expires_at = now() - interval '1 second' where failover_id = $1`, [
    failoverId,
  ]);

describe('a replica node that fails', () => {
  it('to boot the guest: the saga unwinds, the failover says why, and the roles are as before', async () => {
    const { id } = await world.failOver(vm, 'Unplanned');
    const command = await node.command('replica.start', id);
    await node.report({ failoverId: id, phase: 'opening' });
    await node.report({ failoverId: id, phase: 'failed', code: 'boot.no-life', message: 'the guest showed no life' });
    await node.answer(command);
    await node.takeDown(id);
    const view = await world.until(id, 'Failed');
    expect(view).toMatchObject({ failureCode: 'boot.no-life', failureMessage: 'the guest showed no life', bootVerified: false });
    expect(view.steps.map(({ state }) => state)).toEqual(['undone', 'undone', 'undone', 'undone', 'undone', 'undone']);
    expect(await vm.relationship()).toMatchObject({ mode: 'Primary', state: 'WaitingForStartResynchronize' });
    expect(await world.post(`/api/v1/failovers/${id}/cancel`)).toMatchObject({ status: 409, body: { code: 'failover.settled' } });
    // It is open for another attempt at once.
    expect((await world.failOver(vm, 'Unplanned')).state).toBe('Queued');
  });

  it('to take the command: its word is the reason', async () => {
    const { id } = await world.failOver(vm, 'Test');
    await node.answer(await node.command('replica.start', id), { outcome: 'failed', code: 'qemu.missing', message: 'there is no QEMU' });
    await node.takeDown(id);
    expect(await world.until(id, 'Failed')).toMatchObject({ failureCode: 'qemu.missing' });
  });

  it('to stop: it is told again', async () => {
    const { id } = await world.failOver(vm, 'Test');
    await node.bringUp(id);
    await world.until(id, 'Running');
    await world.post(`/api/v1/failovers/${id}/cancel`);
    const first = await node.command('replica.stop', id);
    await node.answer(first, { outcome: 'failed', code: 'qemu.stuck', message: 'QEMU does not end' });
    await node.takeDown(id);
    await world.until(id, 'Cancelled');
  });
});

describe('a replica node that is not there', () => {
  it('is waited for, and one that connects meanwhile gets the VM', async () => {
    await revoke(node);
    const { id } = await world.failOver(vm, 'Test');
    await expect
      .poll(async () => (await world.failover(id)).steps.find(({ name }) => name === 'place'), { timeout: 5_000 })
      .toMatchObject({ state: 'waiting', message: expect.stringContaining('no replica node is connected') });
    nodes += 1;
    node = await TestReplicaNode.enrol(world.site, `rn${nodes}.provider.example`);
    await node.report();
    await node.bringUp(id);
    await world.until(id, 'Running');
  });

  it('falls silent under a running VM: the failover says so, the provider is told once, and its return ends it', async () => {
    const { id } = await world.failOver(vm, 'Unplanned');
    await node.bringUp(id);
    await world.until(id, 'Running');
    await fallSilent(id);
    await expect.poll(() => world.failover(id), { timeout: 10_000 }).toMatchObject({ state: 'Running', replicaNodeSilent: true });
    const { body } = await world.get('/api/v1/operator/audit-events?limit=200', world.site.api.operator);
    const alarms = (body.items as { action: string; subjectId: string }[]).filter(
      ({ action, subjectId }) => action === 'replica-node.fell-silent' && subjectId === node.id,
    );
    expect(alarms).toHaveLength(1);
    await node.report();
    expect(await world.failover(id)).toMatchObject({ state: 'Running', replicaNodeSilent: false });
  });

  it('is silent when its VM is to stop: that waits until it is back, or revoked', async () => {
    const { id } = await world.failOver(vm, 'Unplanned');
    await node.bringUp(id);
    await world.until(id, 'Running');
    await fallSilent(id);
    await world.post(`/api/v1/failovers/${id}/cancel`);
    await expect.poll(() => node.has('replica.stop', id), { timeout: 5_000 }).toBe(true);
    expect((await world.failover(id)).state).toBe('Cancelling');
    expect(await revoke(node)).toMatchObject({ status: 200, body: { state: 'revoked', connected: false } });
    await world.until(id, 'Cancelled');
    expect(await vm.relationship()).toMatchObject({ mode: 'Primary' });
  });

  it('is revoked while its VM boots: the failover fails with that', async () => {
    const { id } = await world.failOver(vm, 'Unplanned');
    await node.command('replica.start', id);
    await revoke(node);
    expect(await world.until(id, 'Failed')).toMatchObject({ failureCode: 'cluster.owner-revoked' });
  });
});

describe('a failover goes on', () => {
  it('after Redis forgot everything, again and again', async () => {
    await world.redis.flushAll();
    const { id } = await world.failOver(vm, 'Unplanned');
    await world.redis.flushAll();
    await node.command('replica.start', id);
    await world.redis.flushAll();
    await node.report({ failoverId: id, phase: 'up' });
    await world.redis.flushAll();
    await world.until(id, 'Running', 10_000);
  });

  it('in the next worker, wherever the last one ended', async () => {
    await world.stopWorker();
    const { id } = await world.failOver(vm, 'Unplanned');
    await world.startWorker();
    const command = await node.command('replica.start', id);
    await world.stopWorker();
    await node.report({ failoverId: id, phase: 'booting' });
    await node.answer(command);
    await node.report({ failoverId: id, phase: 'up' });
    expect((await world.failover(id)).state).toBe('InProgress');
    await world.startWorker();
    await world.until(id, 'Running');
  });
});

it('fails in the end when no replica node is there at all, and says what to do', async () => {
  await revoke(node);
  const { id } = await world.failOver(vm, 'Unplanned');
  const hurrying = setInterval(() => void world.hurry(id), 500);
  const view = await world.until(id, 'Failed').finally(() => clearInterval(hurrying));
  expect(view).toMatchObject({
    failureCode: 'cluster.no-node',
    failureMessage: expect.stringContaining('enrol one'),
  });
  expect(await vm.relationship()).toMatchObject({ mode: 'Primary', state: 'WaitingForStartResynchronize' });
});
