import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import type { HoldfastClient } from '#libs/client';
import type { KeyFaultView, KeyRequestView, TenantKeysView, TenantKeyView } from '#libs/contracts/http';
import { CodedError, messageOf, Redacted } from '#libs/kernel';
import { sha256Hex } from '#libs/pki';
import { addCommand, addNoun, type Answer, type Call, option, requiredOption, type Surroundings } from '../define-command.js';
import { findRelationship, findTenant } from '../find.js';
import { makeKeyFile, openKeyFile, type TenantKeyFile } from '../keys/key-file.js';
import { KeyHolder } from '../keys/key-holder.js';
import type { Column } from '../output/paper.js';
import { quiet, state } from '../output/words.js';

const VERSIONS: readonly Column<TenantKeyView>[] = [
  ['VERSION', ({ version }) => version],
  ['STATE', (key) => state(key.state)],
  ['HELD BY', ({ holder }) => (holder === 'tenant' ? 'you' : 'the provider')],
  ['TO WRAP AGAIN', ({ pendingCount }) => (pendingCount === 0 ? '' : pendingCount)],
  ['MADE', ({ createdAt }, paper) => paper.ago(createdAt)],
  ['SHA-256', ({ publicKeySha256 }) => quiet(publicKeySha256)],
];

const REQUESTS: readonly Column<KeyRequestView>[] = [
  ['WAITS', (each) => each.kind],
  ['VM', ({ vmName }) => vmName],
  ['STATE', (each) => state(each.state)],
  ['ASKED', ({ requestedAt }, paper) => paper.ago(requestedAt)],
  ['RELEASED TO', ({ replicaNodes }) => replicaNodes.join(', ')],
  ['ID', ({ id }) => quiet(id)],
];

const FAULTS: readonly Column<KeyFaultView & { readonly version: number }>[] = [
  ['VERSION', ({ version }) => version],
  ['VM', ({ vmName, chainId }) => vmName ?? chainId],
  ['KEY', ({ kind, generation }) => (kind === 'data' ? `data ${generation}` : kind)],
  ['TRIED', ({ triedAt }, paper) => paper.ago(triedAt)],
  ['WHAT TO DO: SEE ERRORS.md', ({ code }) => code],
];

interface PassphraseFlags {
  readonly passphraseFile?: string;
}

const passphraseFile = option('--passphrase-file <file>', 'take the passphrase from its first line instead of asking');
const keyOption = option('--key <file>', 'your present key, where you hold it');

export function addKeys(program: Command, surroundings: Surroundings): void {
  const keys = addNoun(program, 'keys', 'The key that opens your recovery points: who holds it, and for what it is released.');
  addCommand(keys, surroundings, {
    usage: 'show',
    does: 'The versions of your key, and what waits for it.',
    examples: ['keys show'],
    run: async (call) => {
      const client = await call.client();
      const [overview, requests] = [await client.keys.overview(), await client.keys.requests()];
      return { data: { ...overview, requests }, text: describe(call, overview, requests) };
    },
  });
  addCommand<PassphraseFlags & { readonly tenantHeld?: true; readonly output?: string }>(keys, surroundings, {
    usage: 'init',
    does: 'Make the first version of your key.',
    explain:
      'With --tenant-held its private half is made here and stays here, in a file under a passphrase; only the public half leaves. The provider\n' +
      'then opens nothing of yours until you release it for a failover or an export. Keep copies of the file: without it nobody opens your\n' +
      'recovery points. It also pins the provider, so make it where you trust the connection.',
    examples: ['keys init', 'keys init --tenant-held -o contoso.pem'],
    options: [option('--tenant-held', 'hold the private half yourself'), option('-o, --output <file>', 'where to'), passphraseFile],
    run: init,
  });
  addCommand<PassphraseFlags & RotateFlags>(keys, surroundings, {
    usage: 'rotate',
    does: 'Follow your key by a new version, or change who holds it.',
    explain:
      'What was wrapped to the version before is wrapped to the new one by whoever holds the former: the provider by itself, you right here. If\n' +
      'that is broken off, --resume goes on. The former version is destroyed when nothing needs it; keep its file until `keys show` says so.',
    examples: [
      'keys rotate',
      'keys rotate -o contoso-2.pem --key contoso.pem',
      'keys rotate --key contoso.pem --to-provider',
      'keys rotate --resume --key contoso.pem',
      'keys rotate --resume --key contoso.pem --to-provider',
      'keys rotate --data web-1',
      'keys rotate --every 90',
    ],
    options: [
      keyOption,
      option('-o, --output <file>', 'hold the new version yourself, in this file'),
      option('--to-provider', 'let the provider hold the new version').conflicts('output'),
      option('--resume', 'go on with a rotation that was broken off').conflicts('output'),
      option('--data <vm>', 'begin a new data key for one VM instead').conflicts(['output', 'toProvider', 'resume', 'key']),
      option('--every <days>', 'begin new data keys by themselves after so many days, or `never`').conflicts([
        'output',
        'toProvider',
        'resume',
        'key',
      ]),
      passphraseFile,
    ],
    isDestructive: true,
    run: rotate,
  });
  addCommand<PassphraseFlags & { readonly key: string; readonly node?: string[] }>(keys, surroundings, {
    usage: 'release <request>',
    does: 'Let a failover or an export have your keys.',
    explain:
      'Opens them here and wraps them to the replica nodes that you see: their own keys, attested by the provider that your key file pins. By\n' +
      'default to every node of the cluster, so that the VM can be placed again when its node is lost. A release is for this one failover or export.',
    examples: ['keys release web-1 --key contoso.pem', 'keys release 019f… --key contoso.pem --node rn1.provider.example'],
    options: [requiredOption('--key <file>', 'your key'), option('--node <name...>', 'to these replica nodes alone'), passphraseFile],
    isDestructive: true,
    run: release,
  });
  addCommand<{ readonly withdraw?: true }>(keys, surroundings, {
    usage: 'destroy <tenant>',
    does: 'For the provider: take a tenant away by destroying its keys. One asks, another confirms with the same command, and a hold must pass.',
    explain: 'From the asking on the tenant is shut out. Until the hold is over --withdraw takes all of it back; afterwards nobody can.',
    examples: ['keys destroy contoso', 'keys destroy contoso --withdraw'],
    options: [option('--withdraw', 'keep the tenant after all')],
    isDestructive: true,
    run: destroy,
  });
}

interface RotateFlags {
  readonly key?: string;
  readonly output?: string;
  readonly toProvider?: true;
  readonly resume?: true;
  readonly data?: string;
  readonly every?: string;
}

async function init(call: Call<PassphraseFlags & { readonly tenantHeld?: true; readonly output?: string }>): Promise<Answer> {
  const client = await call.client();
  const overview = await client.keys.overview();
  if (overview.items.length > 0)
    throw new CodedError('keys.exist', 'conflict', 'there is a key already: `holdfast keys rotate` follows it by another');
  if (call.flags.tenantHeld !== true) {
    const made = await client.keys.register({ holder: 'provider' });
    return { data: made, text: `The provider holds your key ${made.items[0]!.publicKeySha256}.` };
  }
  const made = await makeOwn(call, client, overview, call.flags.output);
  const registered = await client.keys.register({ holder: 'tenant', ...(await offer(client, made, overview)) });
  return {
    data: { ...registered, file: call.flags.output },
    text: `Your key ${made.publicKeySha256} is in ${call.flags.output!}.\nKeep copies of it, and the passphrase elsewhere: without them nobody opens your recovery points.`,
  };
}

async function makeOwn(
  call: Call<PassphraseFlags>,
  client: HoldfastClient,
  overview: TenantKeysView,
  file: string | undefined,
): Promise<TenantKeyFile> {
  if (file === undefined) throw new CodedError('cli.option-missing', 'invalid', 'say where your key goes: -o FILE');
  const { tenant } = await client.auth.me();
  const rootSha256 = sha256Hex(new X509Certificate(overview.providerRoot).raw);
  return makeKeyFile(file, await passphrase(call, 'new'), { tenantId: tenant!.id, rootSha256 });
}

/** The public half, with the private one's word for it. */
async function offer(
  client: HoldfastClient,
  made: TenantKeyFile,
  { items }: TenantKeysView,
): Promise<{ readonly publicKey: string; readonly possession: string }> {
  const { tenant } = await client.auth.me();
  const possession = new KeyHolder(made).possession(tenant!.id, (items[0]?.version ?? 0) + 1);
  return { publicKey: made.publicKeySpki.toString('base64'), possession: possession.toString('base64') };
}

async function rotate(call: Call<PassphraseFlags & RotateFlags>): Promise<Answer> {
  const { data, every, key: file, output, toProvider, resume } = call.flags;
  const client = await call.client();
  if (data !== undefined) {
    const { id, vmName } = await findRelationship(client, data);
    const { generation } = await client.keys.renewDataKey(id);
    return { data: { id, generation }, text: `${vmName} is sealed with data key ${generation} from its next cycle on.` };
  }
  if (every !== undefined) {
    const policy = await client.keys.setPolicy({ dataKeyDays: every === 'never' ? null : Number(every) });
    return {
      data: policy,
      text: policy.dataKeyDays === null ? 'Data keys stay.' : `New data keys begin every ${policy.dataKeyDays} days.`,
    };
  }
  const before = await client.keys.overview();
  const holder = file === undefined ? null : new KeyHolder(await openKeyFile(file, await passphrase(call, 'present')));
  const active = before.items.find((each) => each.state === 'active');
  if (active?.holder === 'tenant' && holder === null)
    throw new CodedError('cli.option-missing', 'invalid', 'you hold the present version: give its file with --key');
  if (holder !== null && resume !== true && output === undefined && toProvider !== true && active?.holder === 'provider')
    throw new CodedError('cli.option-missing', 'invalid', 'say who holds the new version: -o FILE or --to-provider');
  const { tenant } = await client.auth.me();
  let after = before;
  let made: TenantKeyFile | null = null;
  if (resume !== true) {
    const isOwn = output !== undefined || (active?.holder === 'tenant' && toProvider !== true);
    made = isOwn ? await makeOwn(call, client, before, output) : null;
    const succession = holder === null ? {} : { succession: holder.succession(tenant!.id, made?.publicKeySpki ?? null).toString('base64') };
    after = await client.keys.register(
      made === null ? { holder: 'provider', ...succession } : { holder: 'tenant', ...(await offer(client, made, before)), ...succession },
    );
  }
  const now = after.items.find((each) => each.state === 'active')!;
  if (made !== null && !made.publicKeySpki.equals(Buffer.from(now.publicKey, 'base64')))
    throw new CodedError(
      'keys.succession-broken',
      'forbidden',
      'nothing is wrapped again: the provider names another key than the one just made',
    );
  let done = 0;
  if (holder !== null) {
    // What the provider says which key is active counts for nothing here.
    const next =
      made?.publicKeySpki ?? Buffer.from(holder.follow(tenant!.id, after.items, { toProvider: toProvider === true }).publicKey, 'base64');
    if (made === null && toProvider === true)
      await call.confirm(`The provider opens everything of yours from now on, with this key (SHA-256):\n  ${sha256Hex(next)}\n`);
    done = await holder.rewrapAll(client, next, (count) => call.terminal.tell(`${count} keys wrapped`));
  }
  const rest =
    holder === null && active?.holder === 'provider' ? ' The provider wraps what there is to it.' : ` ${done} keys are wrapped to it.`;
  return { data: { ...after, rewrapped: done }, text: `Version ${now.version} is your key: ${now.publicKeySha256}.${rest}` };
}

async function release(
  call: Call<PassphraseFlags & { readonly key: string; readonly node?: string[] }>,
  meant: string | undefined,
): Promise<Answer> {
  const client = await call.client();
  const found = findRequest(await client.keys.requests(), meant!);
  const holder = new KeyHolder(await openKeyFile(call.flags.key, await passphrase(call, 'present')));
  const request = await client.keys.request(found.id);
  const trusted = holder.trustedRecipients(request);
  const wanted = call.flags.node;
  const chosen =
    wanted === undefined ? trusted : trusted.filter(({ name, replicaNodeId }) => wanted.includes(name) || wanted.includes(replicaNodeId));
  const left = request.recipients.filter((each) => !trusted.includes(each));
  for (const { name } of left) call.terminal.tell(`${name} is left out: its key is not attested by the provider that your key file pins.`);
  if (chosen.length === 0)
    throw new CodedError('keys.no-recipient', 'conflict', 'there is no replica node that the keys may be wrapped to');
  const list = chosen.map(({ name, publicKeySha256 }) => `  ${name}  ${publicKeySha256}`).join('\n');
  await call.confirm(
    `The ${found.kind} of ${found.vmName} gets ${request.keys.length} keys, on these replica nodes (SHA-256 of their keys):\n${list}\n`,
  );
  const released = await client.keys.release(found.id, await holder.release(request, chosen));
  return { data: released, text: `The ${found.kind} of ${found.vmName} has its keys, on ${released.replicaNodes.join(', ')}.` };
}

function findRequest(requests: readonly KeyRequestView[], meant: string): KeyRequestView {
  const byId = requests.find(({ id }) => id === meant);
  const ofVm = requests.filter(({ vmName }) => vmName === meant);
  const found = byId ?? ofVm.find((each) => each.state === 'waiting') ?? ofVm[0];
  if (found === undefined)
    throw new CodedError('key-request.not-found', 'not-found', `nothing called ${meant} waits for keys: see \`holdfast keys show\``);
  return found;
}

async function destroy(call: Call<{ readonly withdraw?: true }>, meant: string | undefined): Promise<Answer> {
  const client = await call.client();
  const { id, slug } = await findTenant(client, meant!);
  if (call.flags.withdraw === true) {
    await client.operator.withdrawDeletion(id);
    return { data: { tenantId: id }, text: `${slug} stays.` };
  }
  const me = await client.auth.me();
  const standing = await client.operator.deletion(id).catch((error: unknown) => {
    if (error instanceof CodedError && error.code === 'tenant-deletion.not-found') return null;
    throw error;
  });
  const mayConfirm = standing !== null && standing.requestedBy !== me.email;
  await call.confirm(
    mayConfirm
      ? `You are the second who wants ${slug} gone for good.`
      : `${slug} is shut out now, and lost when another has confirmed and the hold is over.`,
  );
  const view = mayConfirm ? await client.operator.confirmDeletion(id) : await client.operator.requestDeletion(id);
  const until = String(call.paper.at(view.holdUntil));
  const rest = view.state === 'awaiting-confirmation' ? 'Another operator confirms it with the same command.' : 'It was confirmed.';
  return { data: view, text: `The keys of ${slug} are destroyed after ${until}. ${rest}` };
}

function describe({ paper }: Call, { holder, items, dataKeyDays }: TenantKeysView, requests: readonly KeyRequestView[]): string {
  const facts = paper.facts([
    ['Held by', holder === 'tenant' ? 'you' : 'the provider'],
    ['New data keys', dataKeyDays === null ? 'when a writer begins anew' : `every ${dataKeyDays} days`],
  ]);
  const missing =
    holder === 'tenant' ? 'You have registered none yet: holdfast keys init --tenant-held -o FILE' : 'It is made with your first host.';
  const versions = paper.table(items, VERSIONS, missing);
  const faults = items.flatMap((each) => each.faults.map((fault) => ({ ...fault, version: each.version })));
  const stuck =
    faults.length === 0 ? [] : [`Keys that do not open; the version that they are wrapped to stays:\n${paper.table(faults, FAULTS, '')}`];
  const waiting = requests.length === 0 ? [] : [paper.table(requests, REQUESTS, '')];
  return [facts, versions, ...stuck, ...waiting].join('\n\n');
}

async function passphrase({ flags, terminal }: Call<PassphraseFlags>, which: 'new' | 'present'): Promise<Redacted> {
  if (flags.passphraseFile !== undefined) {
    const text = await readFile(flags.passphraseFile, 'utf8').catch((error: unknown) => {
      throw new CodedError('cli.file', 'invalid', `${flags.passphraseFile!} cannot be read: ${messageOf(error)}`, {}, error);
    });
    return new Redacted(text.split(/\r?\n/)[0]!);
  }
  if (!terminal.canAsk) throw new CodedError('cli.option-missing', 'invalid', 'nobody can be asked here: give --passphrase-file');
  const given = await terminal.askSecret(`Passphrase of ${which === 'new' ? 'the new key' : 'your key'}: `);
  if (which === 'new' && (await terminal.askSecret('Once more: ')) !== given)
    throw new CodedError('keys.passphrase-differs', 'invalid', 'that was another passphrase');
  return new Redacted(given);
}
