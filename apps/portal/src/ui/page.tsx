import { type ReactNode, useEffect } from 'react';
import { Link } from 'react-router';

interface PageProps {
  readonly title: string;
  readonly beside?: ReactNode;
  readonly about?: ReactNode;
  readonly actions?: ReactNode;
  readonly back?: readonly [to: string, label: string];
  readonly children: ReactNode;
}

export function Page({ title, beside, about, actions, back, children }: PageProps): ReactNode {
  useEffect(() => {
    document.title = `${title} · Holdfast`;
  }, [title]);
  return (
    <div className="page">
      <header className="page-head">
        <div>
          {back === undefined ? null : (
            <p className="crumb">
              <Link to={back[0]}>← {back[1]}</Link>
            </p>
          )}
          <div className="title-row">
            <h1>{title}</h1>
            {beside}
          </div>
          {about === undefined ? null : <p className="soft">{about}</p>}
        </div>
        {actions === undefined ? null : <div className="actions">{actions}</div>}
      </header>
      {children}
    </div>
  );
}
