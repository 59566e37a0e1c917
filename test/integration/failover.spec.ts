import { get as httpGet } from 'node:http';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { BLOCK_BYTES, decodeFence, ObjectNames } from '#libs/chain';
import type { FailoverView } from '#libs/contracts/http';
import { contentOf, expectOk, type ProtectedVm } from '../support/protected-vm.js';
import { FailoverWorld } from '../support/failover-world.js';
import { PNG, TestReplicaNode } from '../support/test-replica-node.js';

/*
 * Failovers from the wish to their end, through the real api, receiver and worker. The replica node is played; the chain that it opens
 * with the keys granted to it is real.
 */

let world: FailoverWorld;
let node: TestReplicaNode;
let vm: ProtectedVm;

beforeAll(async () => {
  world = await FailoverWorld.start();
  node = await TestReplicaNode.enrol(world.site, 'rn1.provider.example');
});
afterAll(() => world?.stop());
beforeEach(async () => {
  await node.report();
  vm = await world.protect();
});

const stepsOf = ({ steps }: FailoverView): string[] => steps.map(({ name, state }) => `${name} ${state}`);

describe('an unplanned failover', () => {
  it('fences, places, grants the keys, and runs once the guest shows life', async () => {
    const { cycle } = await vm.cycle(1);
    const asked = await world.failOver(vm, 'Unplanned');
    expect(asked).toMatchObject({ state: 'Queued', upAt: null, bootVerified: false });
    const { epoch, payload } = await node.bringUp(asked.id);
    const { epoch: current, branchId, mode, state } = await vm.relationship();
    expect({ epoch, mode, state }).toEqual({ epoch: current, mode: 'Replica', state: 'FailedOverWaitingCompletion' });

    const view = await world.until(asked.id, 'Running');
    expect(stepsOf(view)).toEqual([
      'freeze succeeded',
      'fence succeeded',
      'keys succeeded',
      'place succeeded',
      'start succeeded',
      'boot succeeded',
    ]);
    expect(view).toMatchObject({
      replicaNodeName: node.fqdn,
      replicaNodeSilent: false,
      bootMs: 1234.5,
      bootVerified: true,
      console: 'tick 1',
    });
    expect(view.rtoSeconds).toBeGreaterThan(0);
    expect(view.rtoSeconds).toBeCloseTo((Date.parse(view.upAt!) - Date.parse(view.requestedAt)) / 1000, 2);

    const { tenantId, chainId, point } = payload.source;
    const fenceName = new ObjectNames(world.tenant.id, vm.keys.chainId).fence(current);
    const fence = decodeFence(await world.store.get(fenceName), { chainId: vm.keys.chainId });
    expect(fence).toMatchObject({
      epoch: current,
      branchId,
      frozenPoint: { sequence: 1, cycle: BigInt(cycle.cycle), sha256: point.sha256 },
    });

    expect({ tenantId, chainId }).toEqual({ tenantId: world.tenant.id, chainId: vm.keys.chainId });
    const opened = await node.open(payload.source, world.store);
    expect(await opened.disk(0).read(1 * BLOCK_BYTES, BLOCK_BYTES)).toEqual(contentOf(cycle.cycle, 1));
    opened.close();
  });

  it('shows a picture of the VM console, and its steps as they happen', async () => {
    const { id } = await world.failOver(vm, 'Unplanned');
    const seen = watch(await world.site.api.app.listen(), id);
    await node.bringUp(id);
    expect(await world.get(`/api/v1/failovers/${id}/screenshot`)).toMatchObject({ status: 404, body: { code: 'screenshot.not-found' } });
    expect(await node.putScreenshot(id, Buffer.from('GIF89a'))).toMatchObject({ status: 400, code: 'screenshot.not-png' });
    await expectOk(node.putScreenshot(id));
    expect(await world.get(`/api/v1/failovers/${id}/screenshot`)).toMatchObject({ status: 200, body: PNG });
    const views = await seen;
    expect(views.at(-1)).toMatchObject({ id, state: 'Running', bootVerified: true });
    expect(views.length).toBeGreaterThan(1);

    const stranger = await TestReplicaNode.enrol(world.site, 'rn2.provider.example');
    expect(await stranger.putScreenshot(id)).toMatchObject({ status: 404, code: 'failover.not-found' });
    const lie = { failoverId: id, phase: 'stopped', at: new Date().toISOString() };
    await expectOk(stranger.peer.post('/reports/v1', { version: '0.1.0', capacity: null, replicas: [lie] }));
    expect((await world.failover(id)).state).toBe('Running');
  });

  it('runs also with a guest that gives no sign of life: unverified, until one comes', async () => {
    const { id } = await world.failOver(vm, 'Unplanned');
    await node.bringUp(id, { bootMs: null, proof: null, code: 'boot.no-sign', message: 'no sign' });
    const view = await world.until(id, 'Running');
    expect(view).toMatchObject({
      bootVerified: false,
      bootDoubt: 'boot.no-sign',
      bootMs: null,
      upAt: expect.any(String),
      failureCode: null,
    });
    await node.report({ failoverId: id, phase: 'up', bootMs: 400_000, proof: 'console-pattern' });
    // What the node says after a restart takes nothing back.
    await node.report({ failoverId: id, phase: 'up' });
    expect(await world.failover(id)).toMatchObject({ bootVerified: true, bootDoubt: null, bootMs: 400_000, upAt: view.upAt });
  });

  it('is completed, and then neither cancelled nor repeated, nor undone by the old primary that returns', async () => {
    const { epoch, head } = await vm.relationship();
    const { id } = await world.failOver(vm, 'Unplanned');
    expect(await world.post(`/api/v1/failovers/${id}/complete`)).toMatchObject({ status: 409, body: { code: 'failover.not-running' } });
    await node.bringUp(id);
    await world.until(id, 'Running');
    for (let twice = 0; twice < 2; twice += 1)
      expect(await world.post(`/api/v1/failovers/${id}/complete`)).toMatchObject({ status: 200, body: { state: 'Completed' } });
    expect(await vm.relationship()).toMatchObject({ mode: 'Replica', state: 'FailedOver' });
    expect(await world.post(`/api/v1/failovers/${id}/cancel`)).toMatchObject({ status: 409, body: { code: 'failover.settled' } });
    expect(await world.post(`/api/v1/relationships/${vm.id}/failovers`, { type: 'Unplanned' })).toMatchObject({
      status: 409,
      body: { code: 'failover.exists' },
    });
    vm.agent.disconnect();
    expect(await vm.open({ epoch, parent: head })).toMatchObject({ status: 410, code: 'cycle.stale-epoch' });
  });

  it('is one, of two that are asked for at once', async () => {
    const ask = () => world.post(`/api/v1/relationships/${vm.id}/failovers`, { type: 'Unplanned' });
    const { epoch } = await vm.relationship();
    const answers = await Promise.all([ask(), ask(), ask()]);
    expect(answers.map(({ status }) => status).toSorted()).toEqual([202, 409, 409]);
    expect(answers.filter(({ status }) => status === 409).map(({ body }) => body.code)).toEqual(['failover.exists', 'failover.exists']);
    expect((await vm.relationship()).epoch.counter).toBe(epoch.counter + 1);
  });

  it('shuts the old primary out, also in the midst of a cycle', async () => {
    const cycle = await vm.opened();
    const { epoch } = await vm.relationship();
    const segment = vm.segment(cycle, 7);
    await expectOk(vm.put(cycle, segment.bytes, segment.sha256));
    const { pages, bytes } = vm.manifest(cycle, epoch, [segment]);
    await expectOk(vm.putList(cycle, pages[0]!));
    await world.failOver(vm, 'Unplanned');
    const later = vm.segment(cycle, 20);
    expect(await vm.put(cycle, later.bytes, later.sha256)).toMatchObject({ status: 410, code: 'cycle.stale-epoch' });
    expect(await vm.commit(cycle, bytes)).toMatchObject({ status: 410, code: 'cycle.stale-epoch' });
    expect(await vm.open({ epoch })).toMatchObject({ status: 410, code: 'cycle.stale-epoch' });
    // Not with the new epoch either: the mode is the replica cluster's.
    expect(await vm.open()).toMatchObject({ status: 410, code: 'cycle.stale-epoch' });
  });
});

describe('a test failover', () => {
  it('leaves replication going, and cancelling it cleans up', async () => {
    const before = await vm.relationship();
    const { id } = await world.failOver(vm, 'Test');
    await node.bringUp(id);
    await world.until(id, 'Running');
    expect((await vm.cycle(3)).answer.status).toBe(200);
    const after = await vm.relationship();
    expect(after).toMatchObject({ mode: 'Primary', state: 'Replicating', epoch: before.epoch, branchId: before.branchId });
    expect(await world.post(`/api/v1/failovers/${id}/complete`)).toMatchObject({ status: 409, body: { code: 'failover.is-test' } });

    expect(await world.post(`/api/v1/failovers/${id}/cancel`)).toMatchObject({ status: 202, body: { state: 'Cancelling' } });
    await node.takeDown(id);
    const view = await world.until(id, 'Cancelled');
    expect(stepsOf(view).slice(-3)).toEqual(['stop succeeded', 'release succeeded', 'roles succeeded']);
    expect((await vm.cycle(6)).answer.status).toBe(200);
    expect((await world.failOver(vm, 'Test')).id).not.toBe(id);
  });

  it('stands beside an unplanned one', async () => {
    await world.failOver(vm, 'Test');
    await world.failOver(vm, 'Unplanned');
    const { body } = await world.get(`/api/v1/failovers?relationshipId=${vm.id}`);
    expect((body.items as FailoverView[]).map(({ type }) => type)).toEqual(['Unplanned', 'Test']);
  });
});

describe('cancelling an unplanned failover', () => {
  const resynchronizes = async (epochBefore: number): Promise<void> => {
    const { epoch, mode, state } = await vm.relationship();
    expect({ mode, state, counter: epoch.counter }).toEqual({
      mode: 'Primary',
      state: 'WaitingForStartResynchronize',
      counter: epochBefore + 2,
    });
    expect((await vm.cycle(9, { kind: 'resynchronization' })).answer).toMatchObject({ status: 200, body: { head: { sequence: 1 } } });
    expect(await vm.relationship()).toMatchObject({ state: 'Replicating' });
    expect((await vm.cycle(12)).answer.status).toBe(200);
  };

  it('that runs gives the roles back under a new epoch, and the agent goes on where it was', async () => {
    const { epoch, branchId } = await vm.relationship();
    const { id } = await world.failOver(vm, 'Unplanned');
    await node.bringUp(id);
    await world.until(id, 'Running');
    for (let twice = 0; twice < 2; twice += 1)
      expect(await world.post(`/api/v1/failovers/${id}/cancel`)).toMatchObject({ status: 202, body: { state: 'Cancelling' } });
    expect(await vm.open()).toMatchObject({ status: 410 });
    await node.takeDown(id);
    await world.until(id, 'Cancelled');
    expect((await vm.relationship()).branchId).toBe(branchId);
    await resynchronizes(epoch.counter);
  });

  it('that is still booting unwinds it, and what was under way before stays refused', async () => {
    const { epoch } = await vm.relationship();
    const cycle = await vm.opened();
    const { bytes } = vm.manifest(cycle, epoch, []);
    const { id } = await world.failOver(vm, 'Unplanned');
    await node.command('replica.start', id);
    await world.post(`/api/v1/failovers/${id}/cancel`);
    await node.takeDown(id);
    const view = await world.until(id, 'Cancelled');
    expect(view).toMatchObject({ failureCode: null, upAt: null });
    expect(await vm.commit(cycle, bytes)).toMatchObject({
      status: 410,
      code: 'cycle.stale-epoch',
      body: { details: { epoch: { counter: epoch.counter + 2 } } },
    });
    await resynchronizes(epoch.counter);
  });
});

/** The views that the events route sends until the failover runs. */
async function watch(url: string, id: string): Promise<FailoverView[]> {
  const views: FailoverView[] = [];
  return new Promise((resolve, reject) => {
    const request = httpGet(`${url}/api/v1/failovers/${id}/events`, { headers: { ...world.admin.headers } }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (chunk: string) => {
        text += chunk;
        for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
          const data = /^event: failover\ndata: (.*)$/m.exec(text.slice(0, end))?.[1];
          text = text.slice(end + 2);
          if (data !== undefined) views.push(JSON.parse(data) as FailoverView);
        }
        if (views.at(-1)?.state !== 'Running') return;
        request.destroy();
        resolve(views);
      });
    });
    request.once('error', reject);
  });
}
