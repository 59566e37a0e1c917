/**
 * Sagas: operations of many steps over many machines, journalled in PostgreSQL.
 *
 * A saga goes forward step by step. Each step is journalled before it runs and after; a crash in between runs it again, so
 * every step is safe to run twice. A step that is not done yet says how long to wait and is run again, with no process
 * waiting meanwhile; `Sagas.wake` shortens the wait. When a step fails for good, or the saga is cancelled, the direction
 * turns, which is journalled too: steps are undone in reverse from the failed one on, and undoing is tried until it works.
 */
import type { Logger, TenantId } from '#libs/kernel';
import { assert } from '#libs/kernel';
import type { z } from 'zod';

/** What the process that starts a saga needs to know of it: its name, the shape of its state, its steps in order. */
export interface SagaDefinition<State extends object = object, Name extends string = string> {
  /** `<feature>.<verb>`. */
  readonly kind: string;
  readonly state: z.ZodType<State>;
  readonly steps: readonly Name[];
}

export function defineSaga<State extends object, const Name extends string>(
  definition: SagaDefinition<State, Name>,
): SagaDefinition<State, Name> {
  assert(new Set(definition.steps).size === definition.steps.length, 'step names are unique within a saga');
  return definition;
}

export interface SagaContext {
  readonly sagaId: string;
  readonly tenantId: TenantId;
  /** Runs of this step before this one that failed and are being tried again. */
  readonly attempts: number;
  /** While undoing: why. */
  readonly failure: { readonly code: string; readonly message: string } | null;
  /** Aborted when the process stops or another worker took over. */
  readonly signal: AbortSignal;
  readonly logger: Logger;
}

/** Nothing: done. `changes` go into the state. `waitMs`: not done yet, run me again after this long, or when woken. */
export type StepOutcome<State> = void | { readonly changes?: Partial<State>; readonly waitMs?: number };

export interface SagaStep<State> {
  /** Safe to run twice: a crash after the effect and before the record runs it again. Never waits long itself. */
  run(state: Readonly<State>, context: SagaContext): Promise<StepOutcome<State>>;
  /** Safe to run twice, and after a `run` that failed half-way. Absent when there is nothing to take back. Must succeed in the end. */
  undo?(state: Readonly<State>, context: SagaContext): Promise<StepOutcome<State>>;
  /** From the step's first run until it must be done; then the saga unwinds with `saga.step-timeout`. Default ten minutes. */
  readonly timeoutMs?: number;
}

/** The steps of a saga, in the worker. List the class among a worker module's providers and it is found at start. */
export abstract class SagaHandler<State extends object = object, Name extends string = string> {
  abstract readonly definition: SagaDefinition<State, Name>;
  abstract readonly steps: Readonly<Record<Name, SagaStep<State>>>;
}

/** A step as people see it. `waiting`: run, and not done yet. A failed step is the one that turned the saga round. */
export interface SagaStepView {
  readonly name: string;
  readonly state: 'pending' | 'running' | 'waiting' | 'succeeded' | 'failed' | 'undoing' | 'undone';
  readonly startedAt: Date | null;
  readonly finishedAt: Date | null;
  readonly errorCode: string | null;
  readonly errorMessage: string | null;
}

export interface SagaView {
  readonly id: string;
  readonly kind: string;
  readonly status: 'running' | 'succeeded' | 'undone';
  readonly direction: 'forward' | 'backward';
  readonly attempts: number;
  readonly errorCode: string | null;
  readonly errorMessage: string | null;
  readonly createdAt: Date;
  readonly finishedAt: Date | null;
  readonly steps: readonly SagaStepView[];
}
