/** What became of a spec, or of some of its tests, in one run: with a mutant, or, as its control, without a change. */
export interface SpecOutcome {
  readonly failed: readonly string[];
  readonly passed: number;
  /** Of the file itself: it could not be loaded, or something beside its tests went wrong. */
  readonly errors: readonly string[];
}

export interface MutantOutcome {
  readonly name: string;
  /** The tests that failed, which is what they are for. */
  readonly foundBy: readonly string[];
  readonly passed: number;
  /** Why the mutant says nothing: its text is no more in the source, its spec could not be loaded, or fails without it too. */
  readonly fault: string | null;
}

/** A spec that fails as it stands would find anything: only where its control passed does a failure say something about the mutant. */
export function judge(name: string, isApplied: boolean, outcome: SpecOutcome, control: SpecOutcome | undefined): MutantOutcome {
  const { failed, passed, errors } = outcome;
  const fault = !isApplied
    ? 'the text to be changed does not stand exactly once in the file'
    : failed.length + passed === 0
      ? `no test ran: ${errors.join('; ') || 'none of that name'}`
      : faultOfControl(control);
  return { name, foundBy: failed, passed, fault };
}

function faultOfControl(control: SpecOutcome | undefined): string | null {
  if (control === undefined) return 'the spec did not come to its end without a change';
  const { failed, passed, errors } = control;
  const wrong = [...failed, ...errors];
  if (wrong.length > 0) return `the spec fails without a change, too: ${wrong.join('; ')}`;
  return passed === 0 ? 'no test ran without a change' : null;
}
