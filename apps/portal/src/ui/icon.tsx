import type { ReactNode } from 'react';

const PATHS = {
  overview: 'M3 10.5 10 4l7 6.5M5 9v8h10V9',
  failovers: 'M4 7h10l-3-3M16 13H6l3 3',
  agents: 'M4 4h12v5H4zM4 11h12v5H4zM7 6.5h.01M7 13.5h.01',
  audit: 'M6 3h8l2 2v12H4V3zM7 8h6M7 11h6M7 14h4',
  tenants: 'M3 17V7l5-3v13M8 17V8h9v9M11 11h.01M14 11h.01M11 14h.01M14 14h.01',
  nodes: 'M3 5h14v10H3zM7 18h6',
  receivers: 'M10 3v9m-3.5-3.5L10 12l3.5-3.5M3 13v4h14v-4',
  jobs: 'M4 5h12M4 10h12M4 15h7',
  theme: 'M10 3a7 7 0 1 0 0 14zM10 3a7 7 0 0 1 0 14',
  check: 'm4 10.5 4 4 8-9',
  cross: 'm5 5 10 10M15 5 5 15',
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { readonly name: IconName }): ReactNode {
  return (
    <svg viewBox="0 0 20 20" fill="none" stroke="currentColor" strokeWidth="1.7" strokeLinecap="round" strokeLinejoin="round" aria-hidden>
      <path d={PATHS[name]} />
    </svg>
  );
}

export function Brand(): ReactNode {
  return (
    <>
      <svg viewBox="0 0 32 32" aria-hidden>
        <rect width="32" height="32" rx="8" fill="#0e6b64" />
        <path
          d="M16 6v13m0 0c0 4-3 6-7 6m7-6c0 4 3 6 7 6m-7-6v7M11 10h10"
          fill="none"
          stroke="#fff"
          strokeWidth="2.6"
          strokeLinecap="round"
          strokeLinejoin="round"
        />
      </svg>
      Holdfast
    </>
  );
}
