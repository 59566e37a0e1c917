import type { Option } from 'commander';
import type { Page } from '#libs/client';
import type { Answer, Call } from '../define-command.js';
import { option } from '../define-command.js';
import type { Column } from '../output/paper.js';
import { wholeNumber } from '../parse.js';

export interface PageFlags {
  readonly limit: number;
  readonly after?: string;
}

export const limitOption = (most: number, initially: number): Option =>
  option('--limit <count>', 'at most so many', wholeNumber(1, most)).default(initially);

export const pageOptions: readonly Option[] = [limitOption(500, 100), option('--after <cursor>', 'the page after that one')];

/** A page of something as a table, with the way to the next one. */
export function listing<T>(
  call: Call,
  page: { readonly items: T[]; readonly next?: Page<T>['next'] },
  columns: readonly Column<T>[],
  ifEmpty: string,
): Answer {
  const table = call.paper.table(page.items, columns, ifEmpty);
  const text = (page.next ?? null) === null ? table : `${table}\n\nThere are more: add --after ${page.next}`;
  return { data: page, text };
}
