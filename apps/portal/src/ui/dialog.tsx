import { type FormEvent, type ReactNode, useEffect, useId, useRef } from 'react';
import { ErrorNotice } from './answer.js';

interface DialogProps {
  readonly title: string;
  readonly onClose: () => void;
  readonly children: ReactNode;
}

/** The browser's own modal: it keeps the focus inside, and Escape closes it. */
export function Dialog({ title, onClose, children }: DialogProps): ReactNode {
  const ref = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const dialog = ref.current;
    dialog?.showModal();
    return () => dialog?.close();
  }, []);
  return (
    <dialog
      ref={ref}
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
    >
      <div className="dialog-body">
        <h2 id={id}>{title}</h2>
        {children}
      </div>
    </dialog>
  );
}

/** The part of a mutation that a dialog needs. */
export interface Doing {
  readonly isPending: boolean;
  readonly error: unknown;
}

interface FormDialogProps extends DialogProps {
  readonly submit: string;
  readonly isDangerous?: boolean;
  readonly isReady?: boolean;
  readonly doing: Doing;
  readonly onSubmit: () => void;
}

/** Asks, or asks once more, before something is done; what goes wrong is said inside. */
export function FormDialog({
  submit,
  isDangerous = false,
  isReady = true,
  doing,
  onSubmit,
  children,
  ...dialog
}: FormDialogProps): ReactNode {
  const send = (event: FormEvent): void => {
    event.preventDefault();
    if (isReady && !doing.isPending) onSubmit();
  };
  return (
    <Dialog {...dialog}>
      <form className="stack" onSubmit={send}>
        {children}
        {doing.error === null ? null : <ErrorNotice error={doing.error} />}
        <div className="dialog-foot">
          <button type="button" className="button" onClick={dialog.onClose}>
            Close
          </button>
          <button type="submit" className={`button ${isDangerous ? 'danger solid' : 'primary'}`} disabled={!isReady || doing.isPending}>
            {doing.isPending ? 'One moment …' : submit}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
