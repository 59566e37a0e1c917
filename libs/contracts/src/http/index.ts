/** contracts/http: requests and answers of the portal's and the operator's API. They are the DTOs and the OpenAPI document. */
export * from './agents.js';
export * from './chains.js';
export * from './extended-replication.js';
export * from './failover.js';
export * from './keys.js';
export * from './operations.js';
export * from './publications.js';
export * from './replication.js';
export * from './tenancy.js';
