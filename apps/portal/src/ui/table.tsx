import { type ReactNode, useState } from 'react';

export interface Column<Row> {
  /** Empty for actions. */
  readonly head: string;
  readonly cell: (row: Row) => ReactNode;
  readonly isNumber?: boolean;
}

interface TableProps<Row> {
  readonly label: string;
  readonly columns: readonly Column<Row>[];
  readonly rows: readonly Row[];
  readonly keyOf: (row: Row) => string;
  readonly empty: ReactNode;
  /** All rows at once, where the list comes in pages anyhow. */
  readonly isWhole?: boolean;
}

/** More than these are shown when they are asked for; a few more do not deserve a button. */
const ROWS_MAX = 12;
const ROWS_SLACK = 3;

/** A table that becomes a list of cards on a narrow screen: the first column is each card's title. */
export function Table<Row>({ label, columns, rows, keyOf, empty, isWhole = false }: TableProps<Row>): ReactNode {
  const [isAsked, setIsAsked] = useState(false);
  if (rows.length === 0) return empty;
  const shown = isWhole || isAsked || rows.length <= ROWS_MAX + ROWS_SLACK ? rows : rows.slice(0, ROWS_MAX);
  return (
    <>
      <div className="table-frame cards">
        <table aria-label={label}>
          <thead>
            <tr>
              {columns.map(({ head, isNumber }) => (
                <th key={head} scope="col" className={isNumber === true ? 'number' : undefined}>
                  {head === '' ? <span className="visually-hidden">Actions</span> : head}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {shown.map((row) => (
              <tr key={keyOf(row)}>
                {columns.map(({ head, cell, isNumber }, index) => (
                  <td
                    key={head}
                    className={head === '' ? 'act' : isNumber === true ? 'number' : undefined}
                    {...(index === 0 || head === '' ? {} : { 'data-label': head })}
                  >
                    {cell(row)}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {shown.length === rows.length ? null : (
        <div className="table-more">
          <button type="button" className="button small" onClick={() => setIsAsked(true)}>
            Show all {rows.length}
          </button>
        </div>
      )}
    </>
  );
}
