import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sendCommand, type NewCommand } from '#libs/agents';
import { newId, type AgentId, type ReplicaNodeId } from '#libs/kernel';
import { OPERATOR_ROLE } from '#libs/platform';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { startTestSite, until, type TestPeer, type TestSite, type TestTenant } from '../support/receiver.js';
import { count } from '../support/counts.js';

let database: TestDatabase;
let site: TestSite;
let contoso: TestTenant;
let agent: TestPeer;
let node: TestPeer;
let stranger: TestPeer;

beforeAll(async () => {
  database = await createTestDatabase();
  site = await startTestSite(database);
  contoso = await site.api.tenant('contoso');
  agent = await site.enrol(await contoso.person('admin'), { fqdn: 'hv1.contoso.test', tag: 'gold' });
  node = await site.enrolReplicaNode('rn1.provider.test');
  const fabrikam = await site.api.tenant('fabrikam');
  stranger = await site.enrol(await fabrikam.person('admin'), { fqdn: 'hv1.fabrikam.test', tag: 'gold' });
});
afterAll(async () => {
  await site?.close();
  await database?.drop();
});

const DONE = { outcome: 'succeeded', code: null, message: null, data: {} };

function send(command: Partial<NewCommand> = {}): Promise<string> {
  const whole = { to: { role: 'agent', id: agent.id as AgentId }, kind: 'inventory.refresh', payload: {}, ...command } as NewCommand;
  return database.unitOfWork.run(contoso.id, (tx) => sendCommand(tx, whole));
}

async function finishAll(peer: TestPeer): Promise<void> {
  const { body } = await peer.get('/commands/v1?waitMs=0');
  for (const { id } of body.commands) expect((await peer.post(`/commands/v1/${id}/result`, DONE)).status).toBe(204);
}

describe('commands', () => {
  it('reach their recipient in order, again and again until they are finished', async () => {
    const relationshipId = newId();
    const epoch = { incarnation: 1, counter: 3 };
    const first = await send({ kind: 'replication.reconcile', payload: { relationshipId }, subjectId: relationshipId, epoch });
    const second = await send();
    const { body } = await agent.get('/commands/v1?waitMs=0');
    expect(body.commands).toMatchObject([
      { id: first, kind: 'replication.reconcile', subject: relationshipId, epoch, payload: { relationshipId } },
      { id: second, kind: 'inventory.refresh', subject: null, epoch: null },
    ]);
    expect((await agent.get('/commands/v1?waitMs=0')).body.commands).toHaveLength(2);
    const after = body.commands[0].seq;
    expect((await agent.get(`/commands/v1?waitMs=0&after=${after}`)).body.commands).toMatchObject([{ id: second }]);
    await finishAll(agent);
    expect((await agent.get('/commands/v1?waitMs=0')).body.commands).toEqual([]);
  });

  it('wake a recipient that waits, and no other', async () => {
    const waiting = agent.get('/commands/v1?waitMs=30000');
    // By the time that this one has waited in vain, the other is waiting too.
    expect((await stranger.get('/commands/v1?waitMs=300')).body.commands).toEqual([]);
    const startedMs = performance.now();
    const id = await send();
    expect((await waiting).body.commands).toMatchObject([{ id }]);
    // Woken, and not at the end of its patience.
    expect(performance.now() - startedMs).toBeLessThan(15_000);
    await finishAll(agent);
  });

  it('are not sent by a transaction that fails', async () => {
    const failing = database.unitOfWork.run(contoso.id, async (tx) => {
      await sendCommand(tx, { to: { role: 'agent', id: agent.id as AgentId }, kind: 'inventory.refresh', payload: {} });
      throw new Error('no');
    });
    await expect(failing).rejects.toThrow('no');
    expect((await agent.get('/commands/v1?waitMs=0')).body.commands).toEqual([]);
  });

  it('take positions in the order of their commits, so that a reader who asks for later ones misses none', async () => {
    const seen: number[] = [];
    let after = 0;
    const stopped = new AbortController();
    const reading = (async () => {
      while (!stopped.signal.aborted) {
        const { body } = await agent.get(`/commands/v1?waitMs=50&after=${after}`);
        for (const { seq } of body.commands) seen.push(seq);
        after = seen.at(-1) ?? 0;
      }
    })();
    const sent = count(40, 200);
    await Promise.all(Array.from({ length: sent }, () => send()));
    const [last] = await database.asSuperuser<{ seq: string }>(`select max(seq)::text as seq from command where agent_id = '${agent.id}'`);
    await until('the reader to come to the last', () => seen.at(-1) === Number(last!.seq));
    stopped.abort();
    await reading;
    expect(seen).toHaveLength(sent);
    await finishAll(agent);
  });

  it('go to replica nodes too, whosever they are', async () => {
    const failoverId = newId();
    const id = await send({
      to: { role: 'replica-node', id: node.id as ReplicaNodeId },
      kind: 'replica.stop',
      subjectId: failoverId,
      payload: { failoverId },
    });
    expect((await node.get('/commands/v1?waitMs=0')).body.commands).toMatchObject([{ id, kind: 'replica.stop' }]);
    expect((await node.post(`/commands/v1/${id}/result`, DONE)).status).toBe(204);
  });

  it('are finished once: the first result counts, a repeated one is answered alike', async () => {
    const id = await send();
    const failed = { outcome: 'failed', code: 'hypervisor.gone', message: 'no QEMU', data: {} };
    expect((await agent.post(`/commands/v1/${id}/result`, failed)).status).toBe(204);
    expect((await agent.post(`/commands/v1/${id}/result`, DONE)).status).toBe(204);
    const [row] = await database.asSuperuser<object>(`select outcome, result->>'code' as code from command where id = '${id}'`);
    expect(row).toEqual({ outcome: 'failed', code: 'hypervisor.gone' });
  });

  it('are nobody else’s: not another tenant’s, not another role’s', async () => {
    const id = await send();
    for (const peer of [stranger, node]) {
      expect((await peer.get('/commands/v1?waitMs=0')).body.commands).toEqual([]);
      const answer = await peer.post(`/commands/v1/${id}/result`, DONE);
      expect([answer.status, answer.code]).toEqual([404, 'command.not-found']);
      const unknown = await peer.post(`/commands/v1/${newId()}/result`, DONE);
      expect({ ...answer.body, requestId: '' }).toEqual({ ...unknown.body, requestId: '' });
    }
    await finishAll(agent);
  });
});

describe('reports', () => {
  it('show that an agent is there, and what it runs', async () => {
    const { status, body } = await agent.post('/reports/v1', { version: '9.9.9', capacity: null });
    expect(status).toBe(200);
    expect(Math.abs(Date.parse(body.serverTime) - Date.now())).toBeLessThan(5_000);
    const admin = await contoso.person('viewer');
    const { body: view } = await site.api.request().get(`/api/v1/agents/${agent.id}`).set(admin.headers).expect(200);
    expect(view).toMatchObject({ connected: true, version: '9.9.9' });
  });
});

describe('the receiver', () => {
  it('is known to the dashboard with what it does', async () => {
    const { body } = await site.api.request().get('/api/v1/operator/receivers').set(site.api.operator.headers).expect(200);
    expect(body.items).toMatchObject([{ name: 'receiver-1', url: 'https://127.0.0.1:1', connected: true, uploads: 0 }]);
  });

  it('says good-bye when it stops', async () => {
    await site.receiver.close();
    const platform = await database.platform(OPERATOR_ROLE);
    const rows = await platform.run((tx) =>
      tx.query(`select connections, last_seen_at < now() - interval '1 day' as is_gone from receiver`),
    );
    expect(rows).toEqual([{ connections: 0, is_gone: true }]);
  });
});
