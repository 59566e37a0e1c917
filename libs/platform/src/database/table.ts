/** PostgreSQL's column types that Holdfast uses, with what a row holds for each. */
interface ColumnTypes {
  uuid: string;
  text: string;
  boolean: boolean;
  integer: number;
  bigint: number;
  'double precision': number;
  bytea: Buffer;
  jsonb: unknown;
  'timestamp with time zone': Date;
  'text[]': string[];
  'uuid[]': string[];
}

export interface Column<T, IsNull extends boolean> {
  readonly type: keyof ColumnTypes;
  readonly nullable: IsNull;
  /** Only a type: narrows a text column to its words, an id to its kind, a document to its shape. */
  readonly holds?: T;
}

type Columns = Readonly<Record<string, Column<unknown, boolean>>>;

export interface Table<C extends Columns = Columns> {
  readonly name: string;
  readonly columns: C;
  /** `"id", "tenant_id", …` for a select list or `returning`. */
  readonly list: string;
}

/** The row of a table, as `tx.query<RowOf<typeof userTable>>` returns it. */
export type RowOf<T extends Table> = {
  [K in keyof T['columns']]: T['columns'][K] extends Column<infer V, infer N> ? (N extends true ? V | null : V) : never;
};

/**
 * Says once what a table's columns are. Queries take their row type and select list from it; the schema test compares
 * it, column by column, with the migrated database.
 */
export function defineTable<C extends Columns>(name: string, columns: C): Table<C> {
  const list = Object.keys(columns)
    .map((column) => `"${column}"`)
    .join(', ');
  return { name, columns, list };
}

function column<K extends keyof ColumnTypes>(type: K) {
  return <T extends ColumnTypes[K] = ColumnTypes[K]>(): Column<T, false> => ({ type, nullable: false });
}

export const uuid = column('uuid');
export const text = column('text');
export const boolean = column('boolean');
export const integer = column('integer');
export const bigint = column('bigint');
export const double = column('double precision');
export const bytea = column('bytea');
export const jsonb = column('jsonb');
export const timestamptz = column('timestamp with time zone');
export const textArray = column('text[]');
export const uuidArray = column('uuid[]');

export function nullable<T>(of: Column<T, false>): Column<T, true> {
  return { type: of.type, nullable: true };
}
