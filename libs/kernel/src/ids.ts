import { CodedError } from './platform-error.js';

declare const brand: unique symbol;
type Id<Name extends string> = string & { readonly [brand]: Name };

export type TenantId = Id<'tenant'>;
export type UserId = Id<'user'>;
export type AgentId = Id<'agent'>;
export type ReplicaNodeId = Id<'replica-node'>;
export type VmId = Id<'vm'>;
export type RelationshipId = Id<'relationship'>;
export type ChainId = Id<'chain'>;
export type BranchId = Id<'branch'>;
export type RecoveryPointId = Id<'recovery-point'>;
export type FailoverId = Id<'failover'>;
export type CommandId = Id<'command'>;
export type AnyId = Id<string>;

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

export function isUuid(text: string): boolean {
  return UUID.test(text);
}

/** Takes a canonical (lower-case, dashed) UUID as an id of the wanted kind. Throws `id.malformed` for anything else. */
export function asId<T extends AnyId>(text: string): T {
  if (!isUuid(text)) throw new CodedError('id.malformed', 'invalid', 'an id is a lower-case UUID');
  return text as T;
}

/** A new UUIDv7 (RFC 9562): 48 bits of milliseconds, then 74 random bits, so that ids sort by their making. */
export function newId<T extends AnyId>(nowMs: number = Date.now()): T {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  const view = new DataView(bytes.buffer);
  view.setUint16(0, Math.floor(nowMs / 2 ** 32));
  view.setUint32(2, nowMs % 2 ** 32);
  bytes[6] = (bytes[6]! & 0x0f) | 0x70;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  return bytesToId<T>(bytes);
}

/** The 16 bytes of a UUID, as formats and AADs carry it. */
export function idToBytes(id: string): Buffer {
  return Buffer.from(asId(id).replaceAll('-', ''), 'hex');
}

export function bytesToId<T extends AnyId>(bytes: Uint8Array): T {
  const hex = Array.from(bytes.subarray(0, 16), (byte) => byte.toString(16).padStart(2, '0')).join('');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}` as T;
}
