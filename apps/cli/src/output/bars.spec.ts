import { expect, it } from 'vitest';
import { bars } from './bars.js';

it('shows nothing, the least, the half and all', () => {
  expect(bars([0, 0.0001, 0.5, 1])).toBe('·▁▅█');
});
