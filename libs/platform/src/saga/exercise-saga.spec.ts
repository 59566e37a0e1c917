import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { exerciseSaga } from './exercise-saga.js';
import { defineSaga, SagaHandler, type SagaStep } from './saga.js';

interface Move {
  readonly world: Set<string>;
}
const move = defineSaga({ kind: 'test.move', state: z.custom<Move>(), steps: ['reserve', 'place'] });
type Name = (typeof move.steps)[number];

const put = (thing: string): SagaStep<Move> => ({
  run: async ({ world }) => void world.add(thing),
  undo: async ({ world }) => void world.delete(thing),
});

class MoveSaga extends SagaHandler<Move, Name> {
  readonly definition = move;
  constructor(readonly steps: Readonly<Record<Name, SagaStep<Move>>>) {
    super();
  }
}

const exercise = (steps: Partial<Record<Name, SagaStep<Move>>>): Promise<void> =>
  exerciseSaga(new MoveSaga({ reserve: put('reservation'), place: put('replica'), ...steps }), {
    makeState: () => ({ world: new Set<string>() }),
    isClean: ({ world }) => expect([...world]).toEqual([]),
    isComplete: ({ world }) => expect([...world]).toEqual(['reservation', 'replica']),
  });

describe('exerciseSaga', () => {
  it('passes a saga that takes everything back and bears repetition', () => exercise({}));

  it('finds a step without its undo', async () => {
    await expect(exercise({ place: { run: put('replica').run } })).rejects.toThrow();
  });

  it('finds a step that cannot run twice', async () => {
    const run: SagaStep<Move>['run'] = async ({ world }) => void world.add(world.has('replica') ? 'second replica' : 'replica');
    await expect(exercise({ place: { run, undo: async ({ world }) => world.clear() } })).rejects.toThrow();
  });

  it('finds an undo that cannot run twice', async () => {
    const undo = async ({ world }: Move): Promise<void> => void expect(world.delete('replica')).toBe(true);
    await expect(exercise({ place: { run: put('replica').run, undo } })).rejects.toThrow();
  });

  it('finds a step that waits for ever', async () => {
    await expect(exercise({ place: { run: async () => ({ waitMs: 1 }) } })).rejects.toThrow('waits for ever');
  });
});
