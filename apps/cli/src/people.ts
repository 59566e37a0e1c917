import { randomBytes } from 'node:crypto';
import type { Option } from 'commander';
import type { z } from 'zod';
import { type createUser, newPassword, type UserView } from '#libs/contracts/http';
import { CodedError } from '#libs/kernel';
import { type Answer, type Call, choice, option, requiredOption } from './define-command.js';

export interface NewUserFlags {
  readonly email: string;
  readonly name?: string;
  readonly role: UserView['role'];
  readonly passwordStdin?: true;
  readonly generatePassword?: true;
}

export const newUserOptions = (): Option[] => [
  requiredOption('--email <address>', 'with which they sign in'),
  option('--name <name>', 'as they are called (default: the address)'),
  choice('--role <role>', 'viewer: look; operator: protect and fail over; admin: people and agents too', [
    'viewer',
    'operator',
    'admin',
  ]).default('admin'),
  option('--password-stdin', 'read the password from the standard input'),
  option('--generate-password', 'make a password and show it, this once').conflicts('passwordStdin'),
];

/** Makes somebody's account, with the password that is asked for, read or made. Throws `cli.cannot-ask`, `cli.password-length`. */
export async function newUser(call: Call<NewUserFlags>, make: (body: z.input<typeof createUser>) => Promise<UserView>): Promise<Answer> {
  const { email, name = email, role } = call.flags;
  const password = await passwordOf(call);
  const user = await make({ email, name, role, password });
  const text = `${user.email} may sign in, role ${user.role}.`;
  if (call.flags.generatePassword !== true) return { data: user, text };
  return { data: { ...user, password }, text: `${text} The password, shown this once: ${password}` };
}

async function passwordOf({ flags, terminal }: Call<NewUserFlags>): Promise<string> {
  if (flags.generatePassword === true) return randomBytes(15).toString('base64url');
  if (flags.passwordStdin === true) return ofRightLength(await terminal.readLine());
  if (!terminal.canAsk)
    throw new CodedError('cli.cannot-ask', 'invalid', 'nobody can be asked here: give --password-stdin or --generate-password');
  const password = ofRightLength(await terminal.askSecret(`Password for ${flags.email} (12 characters or more): `));
  if ((await terminal.askSecret('Again: ')) !== password)
    throw new CodedError('cli.passwords-differ', 'invalid', 'the two are not the same');
  return password;
}

function ofRightLength(password: string): string {
  if (newPassword.safeParse(password).success) return password;
  throw new CodedError('cli.password-length', 'invalid', 'a password has 12 to 128 characters');
}
