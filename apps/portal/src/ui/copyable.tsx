import { type ReactNode, useState } from 'react';

/** A text to be taken elsewhere. Where a page may not write to the clipboard, the text is selected instead. */
export function Copyable({ text, label }: { readonly text: string; readonly label: string }): ReactNode {
  const [isCopied, setIsCopied] = useState(false);
  const copy = async (code: HTMLElement | null): Promise<void> => {
    try {
      await navigator.clipboard.writeText(text);
      setIsCopied(true);
    } catch {
      if (code !== null) window.getSelection()?.selectAllChildren(code);
    }
  };
  return (
    <div className="copyable">
      <code aria-label={label}>{text}</code>
      <button
        type="button"
        className="button small"
        onClick={(event) => void copy(event.currentTarget.parentElement?.querySelector('code') ?? null)}
      >
        {isCopied ? 'Copied' : 'Copy'}
      </button>
    </div>
  );
}
