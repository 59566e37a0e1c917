import { CodedError, isUuid } from '#libs/kernel';

/** A page of rows that are listed by their ids: the cursor is the last one's. */
export function asPage<Row extends { readonly id: string }, View>(
  rows: readonly Row[],
  limit: number,
  toView: (row: Row) => View,
): { items: View[]; next: string | null } {
  return { items: rows.map(toView), next: rows.length === limit ? rows.at(-1)!.id : null };
}

/** A cursor that did not come from {@link asPage} is refused rather than handed to the database. */
export function checkedCursor<Q extends { readonly after?: string | undefined }>(query: Q): Q & { readonly after: string | undefined } {
  if (query.after !== undefined && !isUuid(query.after))
    throw new CodedError('request.cursor-malformed', 'invalid', 'this is not a cursor of this list');
  return { ...query, after: query.after };
}
