/** A VM of files, a receiver in one process, and an enrolled agent: for tests of the agent without hypervisor and provider. */
export { AgentBench, contentsOf, createTestVm, expectPointEquals, onDemand, startTestAgent, type ReadingHelp } from './agent-bench.js';
export { createTestProvider, enrolTestAgent, type TestProvider } from './enrolled-agent.js';
export { FileVm, FileVmHost } from './file-vm-host.js';
export { TestReceiver, type RequestFate, type SeenRequest } from './test-receiver.js';
