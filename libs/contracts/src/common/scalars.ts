import { z } from 'zod';

/** A canonical UUID. The kernel's branded ids are made of it at the edge. */
export const uuid = z.uuid().regex(/^[0-9a-f-]+$/, 'lower case');

/** A SHA-256 as 64 lower-case hexadecimal digits. */
export const sha256Hex = z.string().regex(/^[0-9a-f]{64}$/);

/** An unsigned 64-bit number in decimal: JSON's own numbers end at 2^53. */
export const u64 = z
  .string()
  .regex(/^(0|[1-9][0-9]{0,19})$/)
  .refine((text) => BigInt(text) < 1n << 64n, 'fits 64 bits');

export const instant = z.iso.datetime({ offset: false });

/** Fencing number of a relationship. Incarnation counts restores of the database, counter changes of role. */
export const epoch = z.object({ incarnation: z.int().min(0).max(65_535), counter: z.int().min(1) });
export type Epoch = z.infer<typeof epoch>;

/** Words for people. What no database can keep, a NUL or half of a character, is dropped or replaced: a report is not lost for it. */
export const plainText = (lengthMax: number) =>
  z
    .string()
    .max(lengthMax)
    .overwrite((text) => text.replaceAll('\0', '').toWellFormed());

/** What people call a thing: display only, never a path. NFC, not blank, no half, control or bidirectional override characters. */
export const displayName = z
  .string()
  .min(1)
  .max(255)
  .refine((text) => text.trim() !== '', 'is blank')
  .refine((text) => text.isWellFormed() && text === text.normalize('NFC'), 'is not in Unicode NFC')
  // oxlint-disable-next-line no-control-regex -- control characters are what is refused
  .refine((text) => !/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/.test(text), 'has control characters');

/** A Replication Authorization Tag: plain text, an authorization and not a secret. */
export const authorizationTag = displayName.max(128);

export const fqdn = z
  .string()
  .max(253)
  .regex(/^(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/);

/** A page of a listing: `next` is the cursor to ask the following page with, null at the end. */
export const pageOf = <T extends z.ZodType>(item: T) => z.object({ items: z.array(item), next: z.string().nullable() });

export const pageQuery = z.object({ limit: z.coerce.number().int().min(1).max(500).default(100), after: z.string().max(200).optional() });

/** RFC 9457. `code` is stable and is what programs switch on. */
export const problem = z.object({
  type: z.string(),
  title: z.string(),
  status: z.int(),
  code: z.string(),
  detail: z.string(),
  details: z.record(z.string(), z.unknown()).optional(),
  requestId: z.string().optional(),
});
export type Problem = z.infer<typeof problem>;
