import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { EnrolmentAnswer } from '#libs/contracts/wire';
import { CodedError } from '#libs/kernel';
import { enrolHost } from '#libs/peer';
import type { EnrolmentToken } from '#libs/pki';
import { StateDirectory } from '../state/state-directory.js';
import type { AgentConfig } from '../state/state-schemas.js';

export interface EnrolOptions {
  readonly token: string;
  /** Where to enrol; the token's own addresses unless given. */
  readonly apiUrl?: string | undefined;
  readonly fqdn: string;
  readonly dataDir: string;
  readonly version: string;
  /** Settings of the agent; what is left out gets its default. `scratchDirectory` is `<dataDir>/scratch` unless given. */
  readonly settings?: Partial<
    Pick<
      AgentConfig,
      | 'qmpSockets'
      | 'bandwidthBytesPerSecond'
      | 'scratchLimitBytes'
      | 'transfersMax'
      | 'segmentWorkers'
      | 'snapshotHook'
      | 'scratchDirectory'
    >
  >;
}

const SCRATCH_PATH_BYTES_MAX = 80;

/**
 * Redeems a one-time token for an agent's identity and writes that and the configuration. The tenant's key that comes back must hash to what the token
 * pins, so that no other one can be slipped under the agent. Throws `agent.scratch-path-too-long`, and as `enrolHost` does.
 */
export async function enrol(options: EnrolOptions): Promise<AgentConfig> {
  const { token, apiUrl, fqdn, version, settings = {} } = options;
  const state = await StateDirectory.open(options.dataDir);
  const scratchDirectory = settings.scratchDirectory ?? join(state.path, 'scratch');
  if (Buffer.byteLength(scratchDirectory) > SCRATCH_PATH_BYTES_MAX) {
    const message = `the path of the scratch directory is at most ${SCRATCH_PATH_BYTES_MAX} bytes long: ${scratchDirectory}`;
    throw new CodedError('agent.scratch-path-too-long', 'invalid', message);
  }
  return enrolHost(state, {
    token,
    apiUrl,
    fqdn,
    version,
    role: 'agent',
    settle: async (answer, pins) => {
      const config: AgentConfig = {
        version: 1,
        ...tenancyOf(answer, pins),
        agentId: answer.identityId,
        fqdn,
        qmpSockets: [],
        bandwidthBytesPerSecond: null,
        scratchLimitBytes: 4 * 1024 ** 3,
        transfersMax: 6,
        segmentWorkers: 2,
        snapshotHook: null,
        ...settings,
        scratchDirectory,
      };
      await state.writeConfig(config);
      return config;
    },
  });
}

function tenancyOf(
  { tenantId, tenantKey, tag }: EnrolmentAnswer,
  pins: EnrolmentToken,
): Pick<AgentConfig, 'tenantId' | 'tenantKey' | 'tenantKeyHolder' | 'tag'> {
  const refuse = (code: string, message: string): CodedError => new CodedError(`enrolment.${code}`, 'unauthenticated', message);
  if (tenantId === null || tenantKey === null || tag === null) throw refuse('not-an-agent', 'this token is not for an agent');
  if (pins.tenantKeySha256 === null || sha256(Buffer.from(tenantKey, 'base64')) !== pins.tenantKeySha256) {
    throw refuse('tenant-key-mismatch', "the tenant's key is not the one that the enrolment token pins");
  }
  return { tenantId, tenantKey, tenantKeyHolder: pins.tenantKeyHolder, tag };
}

function sha256(der: Uint8Array): string {
  return createHash('sha256').update(der).digest('hex');
}
