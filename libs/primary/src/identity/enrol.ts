import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { EnrolmentAnswer } from '#libs/contracts/wire';
import { CodedError } from '#libs/kernel';
import { enrolHost } from '#libs/peer';
import { type EnrolmentToken, parseEnrolmentToken } from '#libs/pki';
import { StateDirectory } from '../state/state-directory.js';
import type { AgentConfig } from '../state/state-schemas.js';

export interface EnrolOptions {
  readonly token: string;
  /** Where to enrol; the token's own addresses unless given. */
  readonly apiUrl?: string | undefined;
  readonly fqdn: string;
  readonly dataDir: string;
  readonly version: string;
  /** SHA-256 of the key that the tenant holds, by the tenant's own word: the token must pin the same one, as the tenant's. */
  readonly tenantKeySha256?: string | undefined;
  /** In the place of the identity that the directory has; its VMs, keys and settings stay. For a provider that had to rebuild its catalogue. */
  readonly isAgain?: boolean;
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
 * pins, so that no other one can be slipped under the agent; and to what the tenant names itself, if it does. Throws `agent.scratch-path-too-long`,
 * `enrolment.tenant-key-mismatch`, `enrolment.tenant-key-not-held`, `enrolment.other-tenant`, and as `enrolHost` does.
 */
export async function enrol(options: EnrolOptions): Promise<AgentConfig> {
  const { token, apiUrl, fqdn, version, settings = {}, isAgain = false } = options;
  const state = await StateDirectory.open(options.dataDir);
  const former = isAgain ? await state.readConfig() : null;
  // A key that the tenant holds is followed only at the tenant's own word, also here.
  const expected =
    options.tenantKeySha256 ?? (former?.tenantKeyHolder === 'tenant' ? sha256(Buffer.from(former.tenantKey, 'base64')) : undefined);
  if (expected !== undefined) requirePin(parseEnrolmentToken(token), expected);
  const scratchDirectory = settings.scratchDirectory ?? former?.scratchDirectory ?? join(state.path, 'scratch');
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
    isAgain,
    settle: async (answer, pins) => {
      if (former !== null && former.tenantId !== answer.tenantId)
        throw new CodedError(
          'enrolment.other-tenant',
          'conflict',
          'this directory has the keys and the state of another tenant; enrol into an empty one',
        );
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
        ...(former === null ? {} : settingsOf(former)),
        ...settings,
        scratchDirectory,
      };
      await state.writeConfig(config);
      return config;
    },
  });
}

function settingsOf(former: AgentConfig): NonNullable<EnrolOptions['settings']> {
  const { qmpSockets, bandwidthBytesPerSecond, scratchLimitBytes, transfersMax, segmentWorkers, snapshotHook } = former;
  return { qmpSockets, bandwidthBytesPerSecond, scratchLimitBytes, transfersMax, segmentWorkers, snapshotHook };
}

/** Asked before anything is sent. The token comes by way of the provider: what the tenant says itself counts for more. */
function requirePin({ tenantKeySha256, tenantKeyHolder }: EnrolmentToken, expected: string): void {
  if (tenantKeySha256 !== expected)
    throw refuse('tenant-key-mismatch', "the enrolment token pins another tenant's key than the one that you name");
  // A provider that is said to hold the key says also which follows: agents would go over to it without the tenant's word.
  if (tenantKeyHolder !== 'tenant')
    throw new CodedError('enrolment.tenant-key-not-held', 'invalid', 'by the enrolment token the provider holds this key, not you');
}

function refuse(code: string, message: string): CodedError {
  return new CodedError(`enrolment.${code}`, 'unauthenticated', message);
}

function tenancyOf(
  { tenantId, tenantKey, tag }: EnrolmentAnswer,
  pins: EnrolmentToken,
): Pick<AgentConfig, 'tenantId' | 'tenantKey' | 'tenantKeyHolder' | 'tag'> {
  if (tenantId === null || tenantKey === null || tag === null) throw refuse('not-an-agent', 'this token is not for an agent');
  if (pins.tenantKeySha256 === null || sha256(Buffer.from(tenantKey, 'base64')) !== pins.tenantKeySha256) {
    throw refuse('tenant-key-mismatch', "the tenant's key is not the one that the enrolment token pins");
  }
  return { tenantId, tenantKey, tenantKeyHolder: pins.tenantKeyHolder, tag };
}

function sha256(der: Uint8Array): string {
  return createHash('sha256').update(der).digest('hex');
}
