import { readFile, rm } from 'node:fs/promises';
import { CodedError } from '#libs/kernel';
import { enrolHost, type HostDirectory } from '#libs/peer';
import type { ReplicaNodeConfig } from './config.js';

export const VERSION = '0.1.0';

export interface TokenFlags {
  readonly token?: string;
  readonly tokenFile?: string;
}

/** Gives this host its identity. Returns the sentence to say. */
export async function enrol(directory: HostDirectory, config: ReplicaNodeConfig, flags: TokenFlags): Promise<string> {
  const identityId = await enrolHost(directory, {
    token: await tokenOf({ ...(config.ENROLMENT_TOKEN_FILE === undefined ? {} : { tokenFile: config.ENROLMENT_TOKEN_FILE }), ...flags }),
    apiUrl: config.API_URL,
    fqdn: config.REPLICA_NODE_FQDN,
    version: VERSION,
    role: 'replica-node',
    settle: async (answer) => answer.identityId,
  });
  return `enrolled as replica node ${identityId}, ${config.REPLICA_NODE_FQDN}`;
}

/** Before the first run, when a token lies ready. It is spent afterwards. */
export async function enrolIfNew(directory: HostDirectory, config: ReplicaNodeConfig): Promise<void> {
  const tokenFile = config.ENROLMENT_TOKEN_FILE;
  if (tokenFile === undefined || (await directory.readIdentity()) !== null) return;
  await enrol(directory, config, { tokenFile });
  await rm(tokenFile, { force: true });
}

async function tokenOf({ token, tokenFile }: TokenFlags): Promise<string> {
  if (token !== undefined) return token;
  if (tokenFile === undefined) throw new CodedError('host.token-missing', 'invalid', 'give the enrolment token by --token-file or --token');
  try {
    return await readFile(tokenFile === '-' ? '/dev/stdin' : tokenFile, 'utf8');
  } catch (error) {
    throw new CodedError('host.token-unreadable', 'invalid', `the token file ${tokenFile} cannot be read`, {}, error);
  }
}
