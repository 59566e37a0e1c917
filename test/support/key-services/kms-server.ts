import {
  constants,
  createHash,
  createHmac,
  generateKeyPair,
  privateDecrypt,
  randomUUID,
  timingSafeEqual,
  type KeyObject,
} from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { promisify } from 'node:util';

const generate = promisify(generateKeyPair);

interface KmsKey {
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
  deletion: number | null;
}

interface Reply {
  readonly status: number;
  readonly body: object;
}

const fault = (type: string, status = 400): Reply => ({ status, body: { __type: type, message: type } });
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
const hmac = (key: Buffer | string, text: string): Buffer => createHmac('sha256', key).update(text).digest();

/**
 * AWS KMS as far as tenant keys need it, in its JSON protocol 1.1. KMS itself is a service and no registry has a local one; here the RSA is real and
 * each request's signature (version 4) is computed anew from what arrived, by the steps of AWS's documentation and none of its code.
 */
export class KmsServer {
  readonly region = 'eu-central-1';
  readonly accessKeyId = 'AKIDHOLDFASTTEST0001';
  readonly secretAccessKey = randomUUID();
  /** Throttles: whatever is asked is put off. */
  isThrottling = false;
  /** Requests whose signature did not hold. */
  forged = 0;
  readonly #keys = new Map<string, KmsKey>();

  private constructor(private readonly server: Server) {}

  static async start(): Promise<KmsServer> {
    const server = createServer();
    const kms = new KmsServer(server);
    server.on('request', (request, response) => void kms.#serve(request, response));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return kms;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
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
    const { status, body } = await this.#answer(request, text).catch(() => fault('KMSInternalException', 500));
    response.writeHead(status, { 'content-type': 'application/x-amz-json-1.1' }).end(JSON.stringify(body));
  }

  async #answer(request: IncomingMessage, text: string): Promise<Reply> {
    if (request.method !== 'POST' || request.headers['content-type'] !== 'application/x-amz-json-1.1')
      return fault('UnknownOperationException');
    const signature = this.#judge(request, text);
    if (signature !== null) {
      this.forged += 1;
      return fault(signature);
    }
    if (this.isThrottling) return fault('ThrottlingException');
    const input = JSON.parse(text) as Record<string, unknown>;
    switch (request.headers['x-amz-target']) {
      case 'TrentService.CreateKey':
        return this.#create(input);
      case 'TrentService.GetPublicKey':
        return this.#usable(input, (id, { publicKey }) => ({
          KeyId: id,
          KeySpec: 'RSA_4096',
          KeyUsage: 'ENCRYPT_DECRYPT',
          PublicKey: publicKey.export({ type: 'spki', format: 'der' }).toString('base64'),
        }));
      case 'TrentService.Decrypt':
        return this.#decrypt(input);
      case 'TrentService.ScheduleKeyDeletion':
        return this.#scheduleDeletion(input);
      case 'TrentService.ListKeys':
        return { status: 200, body: { Keys: [], Truncated: false } };
      default:
        return fault('UnknownOperationException');
    }
  }

  /** Null where the request was signed by the one credential that there is. */
  #judge({ headers, method, url }: IncomingMessage, text: string): string | null {
    const given =
      /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/kms\/aws4_request, ?SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})$/.exec(
        headers.authorization ?? '',
      );
    if (given === null) return 'MissingAuthenticationTokenException';
    const [, accessKeyId, day, region, signedHeaders, signature] = given as unknown as string[];
    if (accessKeyId !== this.accessKeyId || region !== this.region) return 'UnrecognizedClientException';
    const names = signedHeaders!.split(';');
    const at = String(headers['x-amz-date']);
    if (!['host', 'x-amz-date', 'x-amz-target'].every((name) => names.includes(name)) || !at.startsWith(day!))
      return 'IncompleteSignatureException';
    const canonicalHeaders = names.map((name) => `${name}:${String(headers[name]).trim().replaceAll(/ +/g, ' ')}\n`).join('');
    const [path, query = ''] = url!.split('?');
    const canonical = [method, path, query, canonicalHeaders, signedHeaders, sha256(text)].join('\n');
    const scope = `${day}/${region}/kms/aws4_request`;
    const key = hmac(hmac(hmac(hmac(`AWS4${this.secretAccessKey}`, day!), region!), 'kms'), 'aws4_request');
    const expected = hmac(key, ['AWS4-HMAC-SHA256', at, scope, sha256(canonical)].join('\n'));
    return timingSafeEqual(expected, Buffer.from(signature!, 'hex')) ? null : 'InvalidSignatureException';
  }

  async #create(input: Record<string, unknown>): Promise<Reply> {
    if (input['KeySpec'] !== 'RSA_4096' || input['KeyUsage'] !== 'ENCRYPT_DECRYPT') return fault('ValidationException');
    const id = randomUUID();
    this.#keys.set(id, { ...(await generate('rsa', { modulusLength: 4096 })), deletion: null });
    return { status: 200, body: { KeyMetadata: { KeyId: id, KeySpec: 'RSA_4096', KeyState: 'Enabled' } } };
  }

  #decrypt(input: Record<string, unknown>): Reply {
    if (input['EncryptionAlgorithm'] !== 'RSAES_OAEP_SHA_256') return fault('InvalidKeyUsageException');
    return this.#usable(input, (id, { privateKey }) => {
      const padding = { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' };
      try {
        const plaintext = privateDecrypt({ key: privateKey, ...padding }, Buffer.from(String(input['CiphertextBlob']), 'base64'));
        return { KeyId: id, Plaintext: plaintext.toString('base64'), EncryptionAlgorithm: 'RSAES_OAEP_SHA_256' };
      } catch {
        return null;
      }
    });
  }

  #scheduleDeletion(input: Record<string, unknown>): Reply {
    const days = input['PendingWindowInDays'];
    if (typeof days !== 'number' || days < 7 || days > 30) return fault('ValidationException');
    return this.#usable(input, (id, key) => {
      key.deletion = days;
      return { KeyId: id, KeyState: 'PendingDeletion', PendingWindowInDays: days };
    });
  }

  #usable(input: Record<string, unknown>, use: (id: string, key: KmsKey) => object | null): Reply {
    const id = String(input['KeyId']);
    const key = this.#keys.get(id);
    if (key === undefined) return fault('NotFoundException');
    if (key.deletion !== null) return fault('KMSInvalidStateException');
    const body = use(id, key);
    return body === null ? fault('InvalidCiphertextException') : { status: 200, body };
  }
}
