import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { HoldfastClient } from '#libs/client';
import { CodedError, messageOf } from '#libs/kernel';
import { apiUrlOf, type AppProcess, type Site } from './process-table.js';

/**
 * Gives each replica node of this machine that has no identity yet a one-time enrolment token, in the file that its process is
 * told of. Such a token is an operator's to make: the first operator's, whose login the platform's secrets hold.
 */
export async function handOutReplicaNodeTokens(site: Site, apps: readonly AppProcess[]): Promise<void> {
  const newcomers = apps.filter(
    ({ env }) => env['ENROLMENT_TOKEN_FILE'] !== undefined && !existsSync(join(env['DATA_DIR']!, 'identity.json')),
  );
  if (newcomers.length === 0) return;
  const client = new HoldfastClient({ baseUrl: apiUrlOf(site) });
  await client.auth.operatorLogIn(site.operator).catch((error: unknown) => {
    const message = `the replica nodes of this machine must be enrolled, and the first operator's login in ${site.secretsFile} is not accepted: ${messageOf(error)}`;
    throw new CodedError('process.nodes-not-enrolled', 'unavailable', message, {}, error);
  });
  for (const { env } of newcomers) {
    const { token } = await client.operator.createReplicaNodeToken({ fqdnPattern: env['REPLICA_NODE_FQDN']! });
    mkdirSync(env['DATA_DIR']!, { recursive: true, mode: 0o700 });
    writeFileSync(env['ENROLMENT_TOKEN_FILE']!, `${token}\n`, { mode: 0o600 });
  }
  await client.auth.logOut();
}
