/** contracts/common: scalars, states and the VM's definition, which every message uses. */
export * from './export-format.js';
export * from './publication.js';
export * from './retention.js';
export * from './scalars.js';
export * from './states.js';
export * from './vm-definition.js';
export * from './tenant-keys.js';
