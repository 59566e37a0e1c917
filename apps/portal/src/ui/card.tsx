import { type ReactNode, useId } from 'react';

interface CardProps {
  readonly title?: string;
  readonly actions?: ReactNode;
  /** Without the inner margin: for tables. */
  readonly isFlush?: boolean;
  readonly children: ReactNode;
}

export function Card({ title, actions, isFlush = false, children }: CardProps): ReactNode {
  const id = useId();
  return (
    <section className="card" {...(title === undefined ? {} : { 'aria-labelledby': id })}>
      {title === undefined ? null : (
        <div className="card-head">
          <h2 id={id}>{title}</h2>
          {actions}
        </div>
      )}
      {isFlush ? children : <div className="card-body">{children}</div>}
    </section>
  );
}

export interface Fact {
  readonly name: string;
  readonly value: ReactNode;
  readonly of?: ReactNode;
  readonly tone?: 'good' | 'warn' | 'bad' | undefined;
}

/** A few figures that matter most. */
export function Tiles({ facts }: { readonly facts: readonly Fact[] }): ReactNode {
  return (
    <dl className="tiles">
      {facts.map(({ name, value, of, tone }) => (
        <div key={name} className="card tile">
          <dt>{name}</dt>
          <dd className={tone}>
            {value} {of === undefined ? null : <span className="of">{of}</span>}
          </dd>
        </div>
      ))}
    </dl>
  );
}
