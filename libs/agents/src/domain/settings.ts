/** What a process of the platform is told about identities. */
export abstract class IdentitySettings {
  /** The domain in every certificate's URI name, fixed when the root is made; a DNS name of two or more labels. */
  abstract readonly providerDomain: string;
  /** Where agents and replica nodes enrol, tried in order; part of each enrolment token. Empty where none are made. */
  abstract readonly enrolmentUrls: readonly string[];
  /** How long an agent's or replica node's certificate lives. */
  abstract readonly certificateTtlMs: number;
  /** How long a tenant whose deletion was asked for can still be kept. */
  abstract readonly tenantDeletionHoldMs: number;
}
