import { writeFile } from 'node:fs/promises';
import type { Option } from 'commander';
import { CodedError, messageOf } from '#libs/kernel';
import { type Answer, type Call, option } from './define-command.js';

export const outputOption: Option = option('-o, --output <file>', 'write the token there, readable for you alone, instead of showing it');

/** A token, shown this once: on the terminal, or into a file that must not be there yet. Throws `cli.file`. */
export async function secretAnswer(
  call: Call,
  created: { readonly token: string; readonly expiresAt: string },
  file: string | undefined,
  what: string,
): Promise<Answer> {
  const until = call.paper.at(created.expiresAt);
  if (file === undefined) return { data: created, text: `${what}, until ${String(until)}. It is shown this once:\n\n${created.token}` };
  try {
    await writeFile(file, `${created.token}\n`, { mode: 0o600, flag: 'wx' });
  } catch (error) {
    throw new CodedError('cli.file', 'invalid', `the token was made but ${file} cannot be written: ${messageOf(error)}`, {}, error);
  }
  const { token: _, ...rest } = created;
  return { data: { ...rest, file }, text: `${what}, until ${String(until)}, is in ${file}.` };
}
