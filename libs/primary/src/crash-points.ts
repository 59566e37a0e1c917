/** The places of a cycle at which a test may kill the process. Between any two of them something became true that a crash must not lose. */
export const CRASH_POINTS = ['cycle-opened', 'read-opened', 'segment-uploaded', 'before-commit', 'committed', 'released'] as const;
export type CrashPoint = (typeof CRASH_POINTS)[number];

/** Called at each crash point; ends the process, or does nothing. */
export type CrashHandler = (point: CrashPoint) => void;

export const neverCrash: CrashHandler = () => {};
