import { type ReactNode, useLayoutEffect, useRef } from 'react';

const NEAR_END_PX = 24;

/** What the guest wrote, its end in sight; whoever has scrolled back to read stays there. */
export function ConsoleText({ text }: { readonly text: string }): ReactNode {
  const ref = useRef<HTMLPreElement>(null);
  const isAtEnd = useRef(true);
  useLayoutEffect(() => {
    const element = ref.current;
    if (element !== null && isAtEnd.current) element.scrollTop = element.scrollHeight;
  }, [text]);
  return (
    <pre
      ref={ref}
      className="console"
      tabIndex={0}
      aria-label="VM console"
      onScroll={({ currentTarget: { scrollHeight, scrollTop, clientHeight } }) => {
        isAtEnd.current = scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
      }}
    >
      {text}
    </pre>
  );
}
