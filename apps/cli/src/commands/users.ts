import type { Command } from 'commander';
import type { UserView } from '#libs/contracts/http';
import { addCommand, addNoun, type Surroundings } from '../define-command.js';
import type { Column } from '../output/paper.js';
import { quiet, yesNo } from '../output/words.js';
import { newUser, type NewUserFlags, newUserOptions } from '../people.js';
import { listing } from './listing.js';

const COLUMNS: readonly Column<UserView>[] = [
  ['E-MAIL', ({ email }) => email],
  ['NAME', ({ name }) => name],
  ['ROLE', ({ role }) => role],
  ['LAST SIGN-IN', ({ lastLoginAt }, paper) => paper.ago(lastLoginAt)],
  ['MAY SIGN IN', ({ disabled }) => yesNo(!disabled)],
  ['ID', ({ id }) => quiet(id)],
];

export function addUsers(program: Command, surroundings: Surroundings): void {
  const users = addNoun(program, 'users', "Your tenant's people.");
  addCommand(users, surroundings, {
    usage: 'list',
    does: 'Everybody who may sign in.',
    examples: ['users list'],
    run: async (call) => listing(call, await (await call.client()).tenant.users(), COLUMNS, 'There is nobody.'),
  });
  addCommand<NewUserFlags>(users, surroundings, {
    usage: 'create',
    does: 'Let somebody in.',
    examples: ['users create --email bob@contoso.example --role operator'],
    options: newUserOptions(),
    run: async (call) => {
      const client = await call.client();
      return newUser(call, (body) => client.tenant.createUser(body));
    },
  });
}
