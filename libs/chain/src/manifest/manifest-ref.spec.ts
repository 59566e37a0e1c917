import { hash } from 'node:crypto';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { count } from '../../../../test/support/counts.js';
import { PathHash, pathAfter } from './manifest-ref.js';

const LENGTHS = [1, 31, 32, 33, 200];

it('a path comes to the same cycle by cycle, and along stretches that are met for the first time or again', () => {
  const stretches = fc.array(fc.tuple(fc.constantFrom(...LENGTHS), fc.bigInt({ min: 1n, max: 2n ** 40n })), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(stretches, fc.boolean(), (parts, isFromRoot) => {
      const start = isFromRoot ? null : pathAfter(null, 7n);
      const told = parts.map(([length, first]) => BigUint64Array.from({ length }, (_, index) => first + BigInt(index)));
      let expected = start;
      for (const cycles of told) for (const cycle of cycles) expected = pathAfter(expected, cycle);
      for (let turn = 0; turn < 2; turn += 1) {
        const path = new PathHash(start);
        // As an index is named: by what is in it.
        for (const cycles of told) path.extendAlong(hash('sha256', cycles), cycles);
        expect(path.hex).toBe(expected);
      }
    }),
    { numRuns: count(50, 2000) },
  );
});

it('the same stretch leads elsewhere from elsewhere', () => {
  const cycles = BigUint64Array.from({ length: 100 }, (_, index) => BigInt(index + 1));
  const ends = [null, pathAfter(null, 5n), pathAfter(null, 6n), null].map((start) => {
    const path = new PathHash(start);
    path.extendAlong('one name', cycles);
    return path.hex;
  });
  expect(new Set(ends).size).toBe(3);
  expect(ends[3]).toBe(ends[0]);
});
