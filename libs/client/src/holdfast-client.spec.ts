import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { FailoverView, MeView } from '#libs/contracts/http';
import { newId, Redacted } from '#libs/kernel';
import { HoldfastClient, type HoldfastClientOptions } from './index.js';

const servers: Server[] = [];

afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

async function serve(handler: Handler): Promise<string> {
  const server = createServer(handler);
  servers.push(server);
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function clientOf(handler: Handler, options: Partial<HoldfastClientOptions> = {}): Promise<HoldfastClient> {
  return new HoldfastClient({ baseUrl: await serve(handler), ...options });
}

function answer(response: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
}

const ME: MeView = {
  kind: 'user',
  id: newId(),
  email: 'ada@contoso.test',
  name: 'Ada',
  role: 'admin',
  permissions: [],
  tenant: { id: newId(), slug: 'contoso', name: 'Contoso' },
  csrfToken: 'csrf-1',
};

const FAILOVER: FailoverView = {
  id: newId(),
  relationshipId: newId(),
  vmName: 'web',
  type: 'Test',
  state: 'InProgress',
  recoveryPointId: newId(),
  recoveryPointInstant: '2026-01-01T00:00:00.000Z',
  replicaNodeId: null,
  replicaNodeName: null,
  replicaNodeSilent: false,
  waitingFor: null,
  steps: [],
  requestedAt: '2026-01-01T00:00:00.000Z',
  upAt: null,
  rtoSeconds: null,
  bootMs: null,
  bootVerified: false,
  bootDoubt: null,
  console: '',
  hasScreenshot: false,
  failureCode: null,
  failureMessage: null,
};

describe('HoldfastClient', () => {
  it('keeps the session of a sign-in: its cookie always, its CSRF token with what is unsafe', async () => {
    const seen: (readonly [string, string | undefined, unknown])[] = [];
    const client = await clientOf((request, response) => {
      seen.push([`${request.method} ${request.url}`, request.headers.cookie, request.headers['x-holdfast-csrf']]);
      if (request.url?.endsWith('/login') === true)
        return answer(response, 200, ME, { 'set-cookie': 'holdfast_session=s1; Path=/; HttpOnly' });
      if (request.method === 'GET') return answer(response, 200, { items: [], next: null });
      return void response.writeHead(204).end();
    });
    await client.auth.logIn({ tenant: 'contoso', email: 'ada@contoso.test', password: 'x' });
    await client.vms.list();
    await client.agents.deleteEnrolmentToken('a/b');
    expect(seen).toEqual([
      ['POST /api/v1/auth/login', undefined, undefined],
      ['GET /api/v1/vms', 'holdfast_session=s1', undefined],
      ['DELETE /api/v1/enrolment-tokens/a%2Fb', 'holdfast_session=s1', 'csrf-1'],
    ]);
  });

  it('sends an API token, queries and idempotency keys', async () => {
    const seen: unknown[] = [];
    const client = await clientOf(
      (request, response) => {
        seen.push([request.method, request.url, request.headers.authorization, request.headers['idempotency-key']]);
        answer(response, 200, request.method === 'GET' ? { items: [] } : { ...FAILOVER });
      },
      { credential: { kind: 'apiToken', token: new Redacted('hf_secret') } },
    );
    await client.operator.jobs({ limit: 5 });
    await client.failovers.cancel(FAILOVER.id, { idempotencyKey: 'once-only' });
    expect(seen).toEqual([
      ['GET', '/api/v1/operator/jobs?limit=5', 'Bearer hf_secret', undefined],
      ['POST', `/api/v1/failovers/${FAILOVER.id}/cancel`, 'Bearer hf_secret', 'once-only'],
    ]);
  });

  it('throws what the api says, with its code, kind, details and reference', async () => {
    const client = await clientOf((_request, response) =>
      answer(response, 409, {
        type: 'urn:holdfast:problem:failover.in-progress',
        title: 'Conflict',
        status: 409,
        code: 'failover.in-progress',
        detail: 'a failover is under way',
        details: { failoverId: 'f' },
        requestId: 'r',
      }),
    );
    await expect(client.failovers.start('r', { type: 'Test' })).rejects.toMatchObject({
      code: 'failover.in-progress',
      kind: 'conflict',
      message: 'a failover is under way',
      details: { failoverId: 'f', requestId: 'r' },
    });
  });

  it.each([
    [502, '<html>bad gateway</html>', 'api.refused', 'unavailable'],
    [404, 'nothing', 'api.refused', 'not-found'],
    [200, '<html>another site</html>', 'api.unexpected-answer', 'unavailable'],
    [200, '{"items":[{"id":1}],"next":null}', 'api.unexpected-answer', 'unavailable'],
  ])('knows an answer %i %s for no answer of the api', async (status, text, code, kind) => {
    const client = await clientOf((_request, response) => void response.writeHead(status).end(text));
    await expect(client.vms.list()).rejects.toMatchObject({ code, kind });
  });

  it('says who did not answer, in time', async () => {
    const silent = await clientOf(() => undefined, { timeoutMs: 50 });
    await expect(silent.vms.list()).rejects.toMatchObject({ code: 'api.unreachable', kind: 'unavailable' });
    const nobody = new HoldfastClient({ baseUrl: 'http://127.0.0.1:1' });
    await expect(nobody.vms.list()).rejects.toMatchObject({ code: 'api.unreachable' });
  });

  it("lets the caller's own abort through", async () => {
    const client = await clientOf(() => undefined);
    const reason = new Error('left the page');
    await expect(client.vms.list({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });

  it('watches a failover over broken connections until it has ended', async () => {
    let connections = 0;
    const client = await clientOf((_request, response) => {
      connections += 1;
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      const send = (view: FailoverView): void => void response.write(`event: failover\ndata: ${JSON.stringify(view)}\n\n`);
      response.write(': hello\n\n');
      send({ ...FAILOVER, state: connections === 1 ? 'InProgress' : 'Failed' });
      if (connections === 1) setImmediate(() => response.destroy());
    });
    const states: string[] = [];
    for await (const { state } of client.failovers.watch(FAILOVER.id)) states.push(state);
    expect(states.at(-1)).toBe('Failed');
    expect(connections).toBe(2);
  });

  it('stops watching at what the api refuses', async () => {
    const client = await clientOf((_request, response) => void response.writeHead(404).end());
    await expect(client.failovers.watch(FAILOVER.id).next()).rejects.toMatchObject({ kind: 'not-found' });
  });

  it('streams a file', async () => {
    const client = await clientOf((_request, response) => void response.writeHead(200).end('disk'));
    expect(await new Response(await client.exports.content('e')).text()).toBe('disk');
  });
});
