import { Command, Option } from 'commander';
import type { HoldfastClient } from '#libs/client';
import { type Clock, CodedError } from '#libs/kernel';
import { type ClientConfig, type Environment, readClientConfig } from './config.js';
import { type Access, connect, findAccess } from './connect.js';
import { Paper } from './output/paper.js';
import type { Terminal } from './terminal.js';

/** What all commands stand on. */
export interface Surroundings {
  readonly terminal: Terminal;
  readonly clock: Clock;
  readonly environment: Environment;
}

/** What a command found or did: the api's own objects for programs, words for people. */
export interface Answer {
  readonly data: unknown;
  readonly text: string;
  /** Said after the answer; decides the exit code. */
  readonly failure?: CodedError;
}

export interface CommonFlags {
  readonly json?: true;
  readonly profile?: string;
  readonly yes?: true;
}

export interface CommandDefinition<Flags extends object> {
  /** Its name, then its arguments, as commander writes them: `show <vm>`. */
  readonly usage: string;
  /** One sentence. */
  readonly does: string;
  /** What else somebody should know who uses it for the first time. */
  readonly explain?: string;
  /** Hyper-V's cmdlet for the same. */
  readonly mirrors?: string;
  readonly examples: readonly string[];
  readonly options?: readonly Option[];
  /** What its noun does without a verb. */
  readonly isDefault?: true;
  /** It takes something away: {@link Call.confirm} is called, and `--yes` skips the question. */
  readonly isDestructive?: true;
  run(call: Call<Flags>, ...args: string[]): Promise<Answer>;
}

const ARGUMENTS: Readonly<Record<string, string>> = {
  vm: 'a VM, by name or id',
  point: 'a recovery point by id, or a VM for its newest one',
  'failover-or-vm': 'a failover by id, or a VM for its newest one',
  request: 'a failover or an export that waits, by id, or its VM by name',
  tenant: 'a tenant, by name or id',
  agent: 'an agent, by host name or id',
  entry: 'an authorization entry, by id',
  token: 'a token, by name or id',
  profile: 'a profile, by name',
  'other-point': 'another recovery point of the same VM',
  sweep: 'a held deletion, by its digest or the first 8 characters of it or more',
  directory: 'where to: an empty directory, or one to be made',
  publication: 'a publication by id, or the VM of the only one',
};

/** One call of a command. */
export class Call<Flags extends object = object> {
  readonly config: ClientConfig;
  #connected: Promise<HoldfastClient> | undefined;

  constructor(
    readonly surroundings: Surroundings,
    readonly flags: Flags & CommonFlags,
  ) {
    this.config = readClientConfig(surroundings.environment);
  }

  /** For what is written now: its `ago` counts from this moment. */
  get paper(): Paper {
    return new Paper(this.surroundings.clock.now(), this.terminal.hasColour);
  }

  get terminal(): Terminal {
    return this.surroundings.terminal;
  }

  /** The api as whoever is signed in. */
  client(): Promise<HoldfastClient> {
    this.#connected ??= this.access().then(({ apiUrl, token }) => this.connect(apiUrl, { kind: 'apiToken', token }));
    return this.#connected;
  }

  access(): Promise<Access> {
    return findAccess(this.config, this.flags.profile);
  }

  connect(apiUrl: string, credential: Parameters<typeof connect>[1]): HoldfastClient {
    return connect(apiUrl, credential, this.terminal.interrupted);
  }

  sleep(ms: number): Promise<void> {
    return this.surroundings.clock.sleep(ms, this.terminal.interrupted);
  }

  /** Goes on only after a yes. Throws `cli.not-confirmed`. */
  async confirm(consequence: string): Promise<void> {
    if (this.flags.yes === true) return;
    if (!this.terminal.canAsk)
      throw new CodedError('cli.not-confirmed', 'invalid', `${consequence} Nobody can be asked here: add --yes if that is wanted`);
    const answer = await this.terminal.ask(`${consequence} Go on? [y/N] `);
    if (!/^y(es)?$/i.test(answer)) throw new CodedError('cli.not-confirmed', 'conflict', 'nothing was done');
  }
}

/** A noun, with its commands below it. */
export function addNoun(parent: Command, name: string, does: string): Command {
  return parent.command(name).description(does);
}

/** Adds a command that answers to `--json` and whose `--help` teaches. */
export function addCommand<Flags extends object>(parent: Command, surroundings: Surroundings, definition: CommandDefinition<Flags>): void {
  const { usage, does, explain, mirrors, examples, options = [], isDefault = false, isDestructive } = definition;
  const [name = '', ...args] = usage.split(' ');
  const command = parent.command(name, { isDefault }).summary(does).description([does, explain].filter(Boolean).join('\n\n'));
  for (const each of args) command.argument(each, ARGUMENTS[each.replaceAll(/[^a-z-]/g, '')] ?? '');
  for (const each of options) command.addOption(each);
  if (isDestructive === true) command.option('-y, --yes', 'do not ask');
  command.option('--json', 'for programs: what the api answered').option('--profile <name>', 'as whom (default: the profile in use)');
  command.addHelpText('after', helpAfter(examples, mirrors));
  command.action(async () => {
    const call = new Call<Flags>(surroundings, command.opts<Flags & CommonFlags>());
    const { data, text, failure } = await definition.run(call, ...command.args);
    surroundings.terminal.say(call.flags.json === true ? JSON.stringify(data, null, 2) : text);
    if (failure !== undefined) throw failure;
  });
}

function helpAfter(examples: readonly string[], mirrors: string | undefined): string {
  const shown = ['', `${examples.length === 1 ? 'Example' : 'Examples'}:`, ...examples.map((each) => `  $ holdfast ${each}`)];
  return [...shown, ...(mirrors === undefined ? [] : ['', `In Hyper-V: ${mirrors}`])].join('\n');
}

/** An option with a parser of its own. */
export function option(flags: string, does: string, parse?: (text: string, former: never) => unknown): Option {
  const made = new Option(flags, does);
  return parse === undefined ? made : made.argParser(parse as (text: string, former: unknown) => unknown);
}

export function requiredOption(flags: string, does: string, parse?: (text: string, former: never) => unknown): Option {
  return option(flags, does, parse).makeOptionMandatory();
}

export function choice(flags: string, does: string, choices: readonly string[]): Option {
  return new Option(flags, does).choices(choices);
}
