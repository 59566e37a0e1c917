import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Qmp, type QmpEvent } from './qmp.js';

let directory: string;
let server: Server;
let socketPath: string;
const sockets: Socket[] = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'holdfast-qmp-'));
  socketPath = join(directory, 'qmp.sock');
});

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  if (server?.listening) await new Promise((resolve) => server.close(resolve));
  await rm(directory, { recursive: true, force: true });
});

interface Command {
  readonly execute: string;
  readonly id: number;
}

/** A monitor that answers each command with what `answer` gives; undefined: not at all. */
async function monitor(answer: (command: Command, socket: Socket) => object | undefined): Promise<void> {
  server = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => {});
    socket.write('{"QMP": {"version": {}}}\r\n');
    socket.on('data', (bytes) => {
      for (const line of bytes.toString().trim().split('\n')) {
        const command = JSON.parse(line) as Command;
        const reply = command.execute === 'qmp_capabilities' ? { return: {} } : answer(command, socket);
        if (reply !== undefined) socket.write(`${JSON.stringify({ ...reply, id: command.id })}\r\n`);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
}

describe('a QMP connection', () => {
  it('answers commands by id and hands events on, also when a line comes in pieces', async () => {
    await monitor(({ execute }, socket) => {
      socket.write('{"event": "STOP"}\r\n{"event": "RES');
      socket.write('UME", "data": {"a": 1}}\r\n');
      return { return: execute };
    });
    const qmp = await Qmp.connect({ socketPath });
    const events: QmpEvent[] = [];
    const stopListening = qmp.onEvent((event) => events.push(event));
    expect(await Promise.all([qmp.command('first'), qmp.command('second')])).toEqual(['first', 'second']);
    expect(events.slice(0, 2)).toEqual([
      { event: 'STOP', data: {} },
      { event: 'RESUME', data: { a: 1 } },
    ]);
    stopListening();
    const count = events.length;
    await qmp.command('third');
    expect(events).toHaveLength(count);
    qmp.close();
  });

  it('gives QEMU’s refusal as a typed error', async () => {
    await monitor(() => ({ error: { class: 'GenericError', desc: 'node is in use' } }));
    const qmp = await Qmp.connect({ socketPath });
    const details = { command: 'blockdev-del', errorClass: 'GenericError', reason: 'node is in use' };
    await expect(qmp.command('blockdev-del')).rejects.toMatchObject({ code: 'qmp.refused', details });
    qmp.close();
  });

  it('gives up on a command, and on a monitor that serves somebody else', async () => {
    await monitor(({ execute }) => (execute === 'slow' ? undefined : { return: 1 }));
    const qmp = await Qmp.connect({ socketPath });
    await expect(qmp.command('slow', {}, 30)).rejects.toMatchObject({ code: 'qmp.timeout', details: { command: 'slow' } });
    expect(await qmp.command('next')).toBe(1);
    qmp.close();

    const mute = join(directory, 'mute.sock');
    const busy = createServer((socket) => sockets.push(socket));
    await new Promise<void>((resolve) => busy.listen(mute, resolve));
    await expect(Qmp.connect({ socketPath: mute, timeoutMs: 30 })).rejects.toMatchObject({ code: 'qmp.unreachable' });
    busy.close();
  });

  it('fails what waits when the monitor hangs up, talks nonsense or is not there', async () => {
    await expect(Qmp.connect({ socketPath })).rejects.toMatchObject({ code: 'qmp.unreachable' });
    await monitor(({ execute }, socket) => {
      if (execute === 'quit') socket.destroy();
      else socket.write('what?\n');
      return undefined;
    });
    const first = await Qmp.connect({ socketPath });
    await expect(first.command('quit')).rejects.toMatchObject({ code: 'qmp.closed' });
    await first.whenClosed();
    expect(first.isClosed).toBe(true);
    await expect(first.command('more')).rejects.toMatchObject({ code: 'qmp.closed' });
    const second = await Qmp.connect({ socketPath });
    await expect(second.command('talk')).rejects.toMatchObject({ code: 'qmp.protocol-broken' });
  });
});
