import { constants, generateKeyPair, privateDecrypt, randomUUID, type KeyObject } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { promisify } from 'node:util';

const generate = promisify(generateKeyPair);

interface TransitKey {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
  deletionAllowed: boolean;
}

interface Reply {
  readonly status: number;
  readonly body?: object;
}

const errors = (status: number, ...texts: string[]): Reply => ({ status, body: { errors: texts } });

/**
 * Vault's HTTP protocol as far as tenant keys need it: AppRole, and a transit engine whose RSA is real. Vault itself cannot be had from a package
 * registry; what it answers, down to the 500 for a ciphertext that does not open, follows its documentation and source. It is strict: a request
 * that Vault would not understand fails here too.
 */
export class VaultServer {
  readonly roleId = randomUUID();
  readonly secretId = randomUUID();
  readonly rootToken = `hvs.${randomUUID()}`;
  /** Seals it: whatever is asked is answered as a sealed Vault does. */
  isSealed = false;
  logins = 0;
  readonly #keys = new Map<string, TransitKey>();
  readonly #sessions = new Map<string, number>();

  private constructor(private readonly server: Server) {}

  static async start(): Promise<VaultServer> {
    const server = createServer();
    const vault = new VaultServer(server);
    server.on('request', (request, response) => void vault.#serve(request, response));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return vault;
  }

  get address(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** What an operator does to sessions that he mistrusts. */
  revokeSessions(): void {
    this.#sessions.clear();
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, 'close');
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString();
    const { status, body } = await this.#answer(request, text).catch((error: unknown) => errors(500, String(error)));
    response.writeHead(status, { 'content-type': 'application/json' }).end(body === undefined ? '' : JSON.stringify(body));
  }

  async #answer(request: IncomingMessage, text: string): Promise<Reply> {
    if (this.isSealed) return errors(503, 'Vault is sealed');
    const { method, url } = request;
    if (text !== '' && request.headers['content-type'] !== 'application/json') return errors(400, 'failed to parse JSON input');
    const body = text === '' ? {} : (JSON.parse(text) as Record<string, unknown>);
    if (method === 'POST' && url === '/v1/auth/approle/login') return this.#logIn(body);
    const token = request.headers['x-vault-token'];
    if (token !== this.rootToken && (this.#sessions.get(String(token)) ?? 0) < performance.now()) return errors(403, 'permission denied');
    const [, action, name, config] = /^\/v1\/transit\/(keys|decrypt)\/([a-z0-9-]+)(\/config)?$/.exec(url ?? '') ?? [];
    if (action === undefined || name === undefined) return errors(404);
    if (action === 'decrypt') return method === 'POST' ? this.#decrypt(name, body) : errors(405, 'unsupported operation');
    if (config !== undefined) return this.#configure(name, body);
    if (method === 'POST') return this.#create(name, body);
    if (method === 'DELETE') return this.#delete(name);
    return this.#read(name);
  }

  #logIn(body: Record<string, unknown>): Reply {
    if (body['role_id'] !== this.roleId || body['secret_id'] !== this.secretId) return errors(400, 'invalid role or secret ID');
    this.logins += 1;
    const token = `hvs.${randomUUID()}`;
    this.#sessions.set(token, performance.now() + 3_600_000);
    return { status: 200, body: { auth: { client_token: token, lease_duration: 3600, renewable: true } } };
  }

  async #create(name: string, body: Record<string, unknown>): Promise<Reply> {
    if (body['type'] !== 'rsa-4096' || body['exportable'] !== false) return errors(400, 'unknown key type');
    if (!this.#keys.has(name)) this.#keys.set(name, { ...(await generate('rsa', { modulusLength: 4096 })), deletionAllowed: false });
    return { status: 204 };
  }

  #read(name: string): Reply {
    const key = this.#keys.get(name);
    if (key === undefined) return errors(404);
    const publicKey = key.publicKey.export({ type: 'spki', format: 'pem' });
    return {
      status: 200,
      body: { data: { name, type: 'rsa-4096', latest_version: 1, keys: { 1: { name: 'rsa-4096', public_key: publicKey } } } },
    };
  }

  #decrypt(name: string, body: Record<string, unknown>): Reply {
    const key = this.#keys.get(name);
    if (key === undefined) return errors(400, 'encryption key not found');
    const [, sealed] = /^vault:v1:([A-Za-z0-9+/]+={0,2})$/.exec(String(body['ciphertext'])) ?? [];
    if (sealed === undefined) return errors(400, 'invalid ciphertext: no prefix');
    try {
      const padding = { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' };
      const plaintext = privateDecrypt({ key: key.privateKey, ...padding }, Buffer.from(sealed, 'base64'));
      return { status: 200, body: { data: { plaintext: plaintext.toString('base64') } } };
    } catch {
      return errors(500, '1 error occurred:\n\t* failed to RSA decrypt the ciphertext: crypto/rsa: decryption error\n\n');
    }
  }

  #configure(name: string, body: Record<string, unknown>): Reply {
    const key = this.#keys.get(name);
    if (key === undefined) return errors(400, `no existing key named ${name} could be found`);
    key.deletionAllowed = body['deletion_allowed'] === true;
    return { status: 204 };
  }

  #delete(name: string): Reply {
    const key = this.#keys.get(name);
    if (key === undefined) return errors(400, `could not delete key; not found`);
    if (!key.deletionAllowed) return errors(400, 'deletion is not allowed for this key');
    this.#keys.delete(name);
    return { status: 204 };
  }
}
