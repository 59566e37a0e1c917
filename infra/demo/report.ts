import { arch, cpus, release } from 'node:os';

export interface CycleRow {
  readonly kind: string;
  /** Staging cycles of an initial replication carry content, but cannot be chosen. */
  readonly isPoint: boolean;
  readonly state: string;
  readonly changedBytes: number;
  readonly sentBytes: number;
  readonly durationMs: number;
  readonly pauseMs: number;
  readonly resumedUploads: number;
  /** What would have been lost just before this point was there: the time since the instant of the point before it. */
  readonly rpoSeconds: number | null;
}

export interface RefusalRow {
  readonly who: string;
  readonly attempt: string;
  readonly status: number;
  /** The code of the refusal; for a listing, what it told. */
  readonly answer: string;
}

export interface ExportRow {
  readonly point: number;
  readonly disk: number;
  readonly format: 'raw' | 'vhd' | 'vhdx';
  readonly isDifferencing: boolean;
  readonly sizeBytes: number;
}

export interface CheckRow {
  readonly name: string;
  readonly held: boolean;
  readonly detail: string;
}

/** What a run of the demo found out: `--report FILE.json`. */
export interface DemoReport {
  readonly ok: boolean;
  readonly startedAt: string;
  readonly isQuick: boolean;
  /** Why the run ended before its end; null when it did not. */
  readonly failure: string | null;
  readonly cycles: readonly CycleRow[];
  readonly refusals: readonly RefusalRow[];
  /** Ticks of the guest's counter that the disaster cost. */
  readonly rpoTicks: number | null;
  /** From the wish to fail over to the guest's own sign of life. */
  readonly rtoSeconds: number | null;
  readonly bootVerified: boolean;
  /** Where the picture of the VM console is. */
  readonly screenshot: string | null;
  readonly exports: readonly ExportRow[];
  readonly checks: readonly CheckRow[];
  readonly versions: Readonly<Record<string, string>>;
  /** In milliseconds, by step. */
  readonly durations: Readonly<Record<string, number>>;
}

/** Collects the report while the demo runs. */
export class ReportWriter {
  readonly cycles: CycleRow[] = [];
  readonly refusals: RefusalRow[] = [];
  readonly exports: ExportRow[] = [];
  readonly checks: CheckRow[] = [];
  readonly durations: Record<string, number> = {};
  readonly versions: Record<string, string> = {
    node: process.version,
    kernel: release(),
    machine: `${cpus().length} × ${cpus()[0]?.model ?? arch()}`,
  };
  rpoTicks: number | null = null;
  rtoSeconds: number | null = null;
  bootVerified = false;
  screenshot: string | null = null;

  constructor(
    private readonly startedAt: Date,
    private readonly isQuick: boolean,
  ) {}

  get failedChecks(): CheckRow[] {
    return this.checks.filter(({ held }) => !held);
  }

  finish(failure: string | null): DemoReport {
    const { cycles, refusals, rpoTicks, rtoSeconds, bootVerified, screenshot, exports, checks, versions, durations } = this;
    return {
      ok: failure === null && this.failedChecks.length === 0,
      startedAt: this.startedAt.toISOString(),
      isQuick: this.isQuick,
      failure,
      cycles,
      refusals,
      rpoTicks,
      rtoSeconds,
      bootVerified,
      screenshot,
      exports,
      checks,
      versions,
      durations,
    };
  }
}
