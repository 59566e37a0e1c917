import { type Clock, SystemClock } from '#libs/kernel';
import { AgentRoutes, AuthorizationEntryRoutes } from './agents.js';
import { ChainRoutes, PublicationRoutes } from './chains.js';
import { FailoverRoutes } from './failovers.js';
import { KeyRoutes } from './keys.js';
import { OperatorRoutes } from './operator.js';
import { ExportRoutes, ExtendedReplicationRoutes, RecoveryPointRoutes, RelationshipRoutes, VmRoutes } from './replication.js';
import { ApiTokenRoutes, AuthRoutes } from './sign-in.js';
import { TenantRoutes } from './tenant.js';
import { type HoldfastClientOptions, Transport } from './transport.js';

/**
 * The api, typed: one method a route. Answers are parsed with the contract's schemas. Every failure is a `CodedError`: what the
 * api said (its code, its kind), `api.unreachable` when nobody answered, `api.refused` when something that is no api did, and
 * `api.unexpected-answer` when it speaks another version. Nothing is repeated by itself.
 */
export class HoldfastClient {
  readonly auth: AuthRoutes;
  readonly apiTokens: ApiTokenRoutes;
  readonly tenant: TenantRoutes;
  readonly agents: AgentRoutes;
  readonly authorizationEntries: AuthorizationEntryRoutes;
  readonly vms: VmRoutes;
  readonly relationships: RelationshipRoutes;
  readonly recoveryPoints: RecoveryPointRoutes;
  readonly exports: ExportRoutes;
  readonly publications: PublicationRoutes;
  readonly chains: ChainRoutes;
  readonly extendedReplications: ExtendedReplicationRoutes;
  readonly failovers: FailoverRoutes;
  readonly keys: KeyRoutes;
  readonly operator: OperatorRoutes;

  constructor(options: HoldfastClientOptions, clock: Clock = new SystemClock()) {
    const transport = new Transport(options);
    this.auth = new AuthRoutes(transport);
    this.apiTokens = new ApiTokenRoutes(transport);
    this.tenant = new TenantRoutes(transport);
    this.agents = new AgentRoutes(transport);
    this.authorizationEntries = new AuthorizationEntryRoutes(transport);
    this.vms = new VmRoutes(transport);
    this.relationships = new RelationshipRoutes(transport);
    this.recoveryPoints = new RecoveryPointRoutes(transport);
    this.exports = new ExportRoutes(transport);
    this.publications = new PublicationRoutes(transport);
    this.chains = new ChainRoutes(transport);
    this.extendedReplications = new ExtendedReplicationRoutes(transport);
    this.failovers = new FailoverRoutes(transport, clock);
    this.keys = new KeyRoutes(transport);
    this.operator = new OperatorRoutes(transport);
  }
}
