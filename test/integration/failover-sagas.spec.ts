import { Module, type DynamicModule } from '@nestjs/common';
import { DiscoveryService, NestFactory } from '@nestjs/core';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { KeyProviderModule } from '#libs/agents';
import { ObjectNames } from '#libs/chain';
import { FailoverWorkerModule } from '#libs/failover';
import { newId, Redacted, SilentLogger } from '#libs/kernel';
import { APP_ROLE, discover, exerciseSaga, loadSecrets, PlatformModule, type SagaContext, SagaHandler, WORKER_ROLE } from '#libs/platform';
import { StoreModule, ThirdSitesModule } from '#libs/replication';
import { TenancyModule } from '#libs/tenancy';
import { FailoverWorld } from '../support/failover-world.js';
import type { ProtectedVm } from '../support/protected-vm.js';
import { TestReplicaNode } from '../support/test-replica-node.js';

/* The failover's sagas, each made to fail after every step and to repeat every step, on rows, store and commands that are real. */

type Saga = SagaHandler<{ failoverId: string }>;

/** The worker's failover feature without the engine that runs its sagas: here the test does. */
@Module({})
class StillWorkerModule {
  static of({ site, database }: FailoverWorld): DynamicModule {
    const platform = PlatformModule.forRoot({
      databaseUrl: new Redacted(database.url(APP_ROLE)),
      platformDatabaseUrl: new Redacted(database.url(WORKER_ROLE)),
      platformRole: WORKER_ROLE,
      secrets: loadSecrets(site.shared),
      logger: new SilentLogger(),
    });
    const parts = [platform, StoreModule.forRoot(site.shared), ThirdSitesModule.forRoot({}), KeyProviderModule.forRoot(site.shared)];
    return { module: StillWorkerModule, imports: [...parts, TenancyModule, FailoverWorkerModule] };
  }
}

let world: FailoverWorld;
let node: TestReplicaNode;
let closeWorker: () => Promise<void>;
let sagas: ReadonlyMap<string, Saga>;
const vms = new Map<string, ProtectedVm>();

beforeAll(async () => {
  world = await FailoverWorld.start();
  await world.stopWorker();
  node = await TestReplicaNode.enrol(world.site, 'rn1.provider.example');
  const nest = await NestFactory.createApplicationContext(StillWorkerModule.of(world), { logger: false, abortOnError: false });
  closeWorker = () => nest.close();
  const found = discover(nest.get(DiscoveryService), SagaHandler) as unknown as Saga[];
  sagas = new Map(found.map((saga) => [saga.definition.kind, saga]));
});
afterAll(async () => {
  await closeWorker?.();
  await world?.stop();
});
beforeEach(() => node.report());

const saga = (kind: string): Saga => sagas.get(kind)!;

async function asked(): Promise<{ failoverId: string }> {
  await node.report();
  const vm = await world.protect();
  const { id } = await world.failOver(vm, 'Unplanned');
  vms.set(id, vm);
  return { failoverId: id };
}

/** The node does what the step waits for. */
async function onWait(step: string, { failoverId }: { failoverId: string }): Promise<void> {
  if (step === 'boot') await node.bringUp(failoverId);
  else await node.takeDown(failoverId);
}

async function runToEnd(handler: Saga, from: { failoverId: string }): Promise<void> {
  const signal = new AbortController().signal;
  const context: SagaContext = {
    sagaId: newId(),
    tenantId: world.tenant.id,
    attempts: 0,
    failure: null,
    signal,
    logger: new SilentLogger(),
  };
  let state = from;
  for (const name of handler.definition.steps) {
    for (;;) {
      const outcome = await handler.steps[name]!.run(state, context);
      state = { ...state, ...outcome?.changes };
      if (outcome?.waitMs === undefined) break;
      await onWait(name, state);
    }
  }
}

/** What is left of a failover in rows: how many owners it has, and how often its node was told what. */
async function traces(failoverId: string): Promise<{ owners: number; starts: number; stops: number }> {
  const [row] = await world.database.asSuperuser<{ owners: number; starts: number; stops: number }>(
    `select (select count(*)::int from replica_ownership where failover_id = $1 and released_at is null) as owners,
            (select count(*)::int from command where subject_id = $1 and kind = 'replica.start') as starts,
            (select count(*)::int from command where subject_id = $1 and kind = 'replica.stop') as stops`,
    [failoverId],
  );
  return row!;
}

it('brings a VM up once, or leaves nothing behind', async () => {
  await exerciseSaga(saga('failover.run'), {
    tenantId: world.tenant.id,
    makeState: asked,
    onWait,
    async isClean({ failoverId }) {
      expect(await world.failover(failoverId)).toMatchObject({ state: 'Failed', failureCode: 'saga.exercised' });
      const { owners, starts, stops } = await traces(failoverId);
      expect({ owners, stops: stops <= 1, starts: starts <= 1 }).toEqual({ owners: 0, stops: true, starts: true });
      const { mode, state, epoch } = await vms.get(failoverId)!.relationship();
      expect({ mode, state, counter: epoch.counter }).toEqual({ mode: 'Primary', state: 'WaitingForStartResynchronize', counter: 3 });
    },
    async isComplete({ failoverId }) {
      expect(await world.failover(failoverId)).toMatchObject({ state: 'Running', replicaNodeName: node.fqdn });
      expect(await traces(failoverId)).toEqual({ owners: 1, starts: 1, stops: 0 });
      const vm = vms.get(failoverId)!;
      const { mode, epoch } = await vm.relationship();
      expect({ mode, counter: epoch.counter }).toEqual({ mode: 'Replica', counter: 2 });
      expect(await world.store.head(new ObjectNames(world.tenant.id, vm.keys.chainId).fence(epoch))).not.toBeNull();
    },
  });
});

it('takes a failover back, however often it is interrupted', async () => {
  const isComplete = async ({ failoverId }: { failoverId: string }): Promise<void> => {
    expect(await world.failover(failoverId)).toMatchObject({ state: 'Cancelled', failureCode: null });
    expect(await traces(failoverId)).toEqual({ owners: 0, starts: 1, stops: 1 });
    expect(await vms.get(failoverId)!.relationship()).toMatchObject({ mode: 'Primary', epoch: { counter: 3 } });
  };
  await exerciseSaga(saga('failover.cancel'), {
    tenantId: world.tenant.id,
    async makeState() {
      const state = await asked();
      await runToEnd(saga('failover.run'), state);
      return state;
    },
    onWait,
    // It has no way back: what is left undone is done by the next run.
    async isClean(state) {
      await runToEnd(saga('failover.cancel'), state);
      await isComplete(state);
    },
    isComplete,
  });
});

it('starts nothing for a failover that is cancelled meanwhile', async () => {
  const from = await asked();
  const { steps } = saga('failover.run');
  const signal = new AbortController().signal;
  const context = { sagaId: newId(), tenantId: world.tenant.id, attempts: 0, failure: null, signal, logger: new SilentLogger() };
  for (const name of ['freeze', 'fence', 'keys', 'place']) await steps[name]!.run(from, context);
  await world.database.asSuperuser(`update failover set state = 'Cancelling' where id = $1`, [from.failoverId]);
  expect(await steps['start']!.run(from, context)).toEqual({ waitMs: 0 });
  await world.database.asSuperuser(`update failover set state = 'Cancelled' where id = $1`, [from.failoverId]);
  await expect(steps['start']!.run(from, context)).rejects.toMatchObject({ code: 'failover.not-under-way' });
  expect(await traces(from.failoverId)).toMatchObject({ starts: 0 });
  expect(await world.database.asSuperuser(`select 1 from chain_lease where id = $1`, [from.failoverId])).toEqual([]);
});
