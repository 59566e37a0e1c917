import { once } from 'node:events';
import { connect as connectTcp, type Socket } from 'node:net';
import { connect, type ConnectionOptions } from 'node:tls';
import { Duplex } from 'node:stream';

const HANDSHAKE_RECORD = 22;
const CERTIFICATE_REQUEST = 13;

/**
 * How many authorities a listener on 127.0.0.1 names to a client: the names in its CertificateRequest message, which TLS 1.2 sends in
 * the clear.
 */
export async function authorityNamesOffered(client: ConnectionOptions & { readonly port: number }): Promise<number> {
  const raw = connectTcp(client.port, '127.0.0.1');
  const received: Buffer[] = [];
  raw.on('data', (bytes: Buffer) => received.push(bytes));
  const socket = connect({ ...client, socket: throughStream(raw), maxVersion: 'TLSv1.2' });
  await once(socket, 'secureConnect');
  socket.destroy();
  raw.destroy();

  const stream = Buffer.concat(received);
  const handshake: Buffer[] = [];
  for (let at = 0; at + 5 <= stream.length && stream[at] === HANDSHAKE_RECORD; at += 5 + stream.readUInt16BE(at + 3)) {
    handshake.push(stream.subarray(at + 5, at + 5 + stream.readUInt16BE(at + 3)));
  }
  const messages = Buffer.concat(handshake);
  for (let at = 0; at + 4 <= messages.length; at += 4 + messages.readUIntBE(at + 1, 3)) {
    if (messages[at] !== CERTIFICATE_REQUEST) continue;
    let cursor = at + 4;
    cursor += 1 + messages[cursor]!;
    cursor += 2 + messages.readUInt16BE(cursor);
    const end = cursor + 2 + messages.readUInt16BE(cursor);
    let names = 0;
    for (cursor += 2; cursor < end; cursor += 2 + messages.readUInt16BE(cursor)) names += 1;
    return names;
  }
  throw new Error('no CertificateRequest seen');
}

function throughStream(socket: Socket): Duplex {
  const stream = new Duplex({
    read: () => {},
    write: (chunk: Buffer, _encoding, done) => void socket.write(chunk, () => done()),
  });
  socket.on('data', (bytes: Buffer) => stream.push(bytes));
  return stream;
}
