/** contracts/wire: what agents and replica nodes say to the api (enrolment) and to receivers (all else, over mutual TLS). */
export * from './enrolment.js';
export * from './points.js';
export * from './replication.js';
