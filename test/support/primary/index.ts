/** A VM of files, a receiver in one process, and an enrolled agent, for tests without hypervisor and provider. */
export { createTestProvider, enrolTestAgent, type TestProvider } from './enrolled-agent.js';
export { FileVm, FileVmHost } from './file-vm-host.js';
export { TestReceiver, type RequestFate, type SeenRequest } from './test-receiver.js';
