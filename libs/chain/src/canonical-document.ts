import { z } from 'zod';
import { isUuid, type AnyId, type CodedError } from '#libs/kernel';
import { cycleToHex } from './cycle-number.js';
import { corrupt } from './chain-errors.js';

/**
 * The chain's small objects are JSON in one canonical form (keys sorted by code unit, no white space, shortest numbers), so that equal content has equal bytes
 * and a person can read them. Sealed ones carry a MAC or a signature over these bytes on a second line.
 */
export interface DocumentKind<T> {
  /** `manifest`, `fence`, `keys`: the first part of error codes. */
  readonly family: string;
  /** The value of the field `format`. */
  readonly format: string;
  readonly version: number;
  readonly bytesMax: number;
  /** Strict: what it does not know is refused. It sees the document without `format` and `version`. */
  readonly schema: z.ZodType<T>;
}

type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };

export function encodeDocument(kind: DocumentKind<unknown>, body: Readonly<Record<string, unknown>>): Buffer {
  return Buffer.from(canonicalJson({ ...body, format: kind.format, version: kind.version } as Json));
}

/** `<family>.too-large`, `<family>.malformed`, `<family>.version-unsupported`. */
export function decodeDocument<T>(kind: DocumentKind<T>, bytes: Buffer): T {
  if (bytes.length > kind.bytesMax) throw corrupt(`${kind.family}.too-large`, `a ${kind.format} has at most ${kind.bytesMax} bytes`);
  const { format, version, ...body } = parseObject(kind, bytes);
  if (format !== kind.format) throw malformed(kind, 'format');
  if (version !== kind.version)
    throw corrupt(`${kind.family}.version-unsupported`, `version ${String(version)} of ${kind.format} is not known`);
  const parsed = kind.schema.safeParse(body);
  if (!parsed.success) throw malformed(kind, parsed.error.issues[0]?.path.join('.') ?? '', parsed.error);
  if (!encodeDocument(kind, body).equals(bytes)) throw malformed(kind, 'canonical form');
  return parsed.data;
}

/** Splits `document ‖ "\n" ‖ seal ‖ "\n"`. */
export function splitSealed(kind: DocumentKind<unknown>, bytes: Buffer): { document: Buffer; seal: string } {
  if (bytes.length > kind.bytesMax) throw corrupt(`${kind.family}.too-large`, `a ${kind.format} has at most ${kind.bytesMax} bytes`);
  const end = bytes.indexOf(0x0a);
  if (end < 0 || bytes.at(-1) !== 0x0a || bytes.length - end > 200) throw malformed(kind, 'seal');
  return { document: bytes.subarray(0, end), seal: bytes.toString('latin1', end + 1, bytes.length - 1) };
}

export function joinSealed(document: Buffer, seal: string): Buffer {
  return Buffer.concat([document, Buffer.from(`\n${seal}\n`, 'latin1')]);
}

export function malformed(kind: DocumentKind<unknown>, where: string, cause?: unknown): CodedError {
  return corrupt(`${kind.family}.malformed`, `a ${kind.format} is not well formed`, { where }, cause);
}

function parseObject(kind: DocumentKind<unknown>, bytes: Buffer): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8'));
  } catch (error) {
    throw malformed(kind, 'JSON', error);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw malformed(kind, 'object');
  return value as Record<string, unknown>;
}

function canonicalJson(value: Json): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );
}

/** Fields that many documents have. */
export const fields = {
  id: <T extends AnyId>() =>
    z
      .string()
      .refine(isUuid)
      .transform((text) => text as T),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  cycle: z
    .string()
    .regex(/^[0-9a-f]{16}$/)
    .transform((hex) => BigInt(`0x${hex}`))
    .refine((cycle) => cycle > 0n),
  epoch: z.strictObject({
    incarnation: z.int().min(1).max(0xffff),
    counter: z
      .int()
      .min(1)
      .max(2 ** 48 - 1),
  }),
  sequence: z
    .int()
    .min(0)
    .max(2 ** 32 - 1),
};

/** A manifest's reference as documents carry it. */
export function plainRef<R extends { readonly cycle: bigint }>(ref: R | null): (Omit<R, 'cycle'> & { cycle: string }) | null {
  return ref === null ? null : { ...ref, cycle: cycleToHex(ref.cycle) };
}
