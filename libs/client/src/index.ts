/**
 * client: the api's typed client, for the portal, the CLI, enrolment and the demo. It needs `fetch` and nothing else, so it
 * works in a browser as in Node.
 */
export type { CreatedEnrolmentToken, EnrolmentTokenView } from './agents.js';
export { type FailoverQuery, isFailoverEnded } from './failovers.js';
export { HoldfastClient } from './holdfast-client.js';
export type { ListQuery, PolicyWish } from './replication.js';
export type { Page, PageQuery } from './resource.js';
export type { AuditPageQuery } from './tenant.js';
export type { CallOptions, Credential, Fetch, HoldfastClientOptions } from './transport.js';
