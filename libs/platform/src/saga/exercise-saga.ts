import { assert, newId, SilentLogger, type TenantId } from '#libs/kernel';
import type { SagaContext, SagaHandler, SagaStep } from './saga.js';

export interface SagaExercise<State> {
  /** A fresh world and the state that the saga starts with. */
  makeState(): Promise<State> | State;
  /** After unwinding: throws unless nothing is left behind but the record of the failure. */
  isClean(state: State): Promise<void> | void;
  /** After the last step: throws unless the work is done, once. */
  isComplete(state: State): Promise<void> | void;
  /** Lets the world move on when a step waits. */
  onWait?(step: string, state: State): Promise<void> | void;
  readonly tenantId?: TenantId;
}

const WAITS_MAX = 1_000;

/** For tests: fails after each step in turn and checks that nothing is left behind, with each undo run twice; then repeats each step in turn and checks the result. */
export async function exerciseSaga<State extends object, Name extends string>(
  handler: SagaHandler<State, Name>,
  exercise: SagaExercise<State>,
): Promise<void> {
  const { steps: names } = handler.definition;
  for (let failAt = 0; failAt < names.length; failAt += 1) {
    let state = await exercise.makeState();
    const context = contextFor(exercise);
    for (const name of names.slice(0, failAt + 1)) state = await settle('run', name, handler.steps[name], state, context, exercise);
    const unwinding = { ...context, failure: { code: 'saga.exercised', message: `made to fail after ${names[failAt]}` } };
    for (const name of names.slice(0, failAt + 1).toReversed()) {
      state = await settle('undo', name, handler.steps[name], state, unwinding, exercise);
      state = await settle('undo', name, handler.steps[name], state, unwinding, exercise);
    }
    await exercise.isClean(state);
  }
  for (const repeated of names) {
    let state = await exercise.makeState();
    const context = contextFor(exercise);
    for (const name of names) {
      const before = state;
      state = await settle('run', name, handler.steps[name], state, context, exercise);
      // A crash before the record: the step runs again from the state that it had the first time.
      if (name === repeated) state = await settle('run', name, handler.steps[name], before, context, exercise);
    }
    await exercise.isComplete(state);
  }
}

async function settle<State extends object>(
  verb: 'run' | 'undo',
  name: string,
  step: SagaStep<State>,
  from: State,
  context: SagaContext,
  exercise: SagaExercise<State>,
): Promise<State> {
  let state = from;
  for (let waits = 0; waits < WAITS_MAX; waits += 1) {
    const outcome = await step[verb]?.(state, context);
    state = { ...state, ...outcome?.changes };
    if (outcome?.waitMs === undefined) return state;
    await exercise.onWait?.(name, state);
  }
  assert(false, `the step ${name} waits for ever`);
}

function contextFor(exercise: { readonly tenantId?: TenantId }): SagaContext {
  return {
    sagaId: newId(),
    tenantId: exercise.tenantId ?? newId<TenantId>(),
    attempts: 0,
    failure: null,
    signal: new AbortController().signal,
    logger: new SilentLogger(),
  };
}
