import type { Redacted } from '#libs/kernel';
import type { Kek } from '#libs/pki';

/** What a process of the platform must be given to make and judge identities. */
export abstract class IdentitySettings {
  /** Seals the keys of authorities in the database. */
  abstract readonly kek: Kek;
  /** Keys the HMAC under which secrets of enrolment tokens are kept; ≥ 32 bytes. */
  abstract readonly tokenKey: Redacted<Buffer>;
  /** The domain in every certificate's URI name, fixed when the root is made; a DNS name of two or more labels. */
  abstract readonly providerDomain: string;
  /** Where agents and replica nodes enrol, tried in order; part of each enrolment token. */
  abstract readonly enrolmentUrls: readonly string[];
  /** How long an agent's or replica node's certificate lives. */
  abstract readonly certificateTtlMs: number;
}
