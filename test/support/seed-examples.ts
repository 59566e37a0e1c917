/** `HOLDFAST_TEST_SEED`, as a failed property prints its seed, gives every property of a run the same examples again. */
export const seed = process.env['HOLDFAST_TEST_SEED'];
if (seed !== undefined) {
  const { default: fc } = await import('fast-check');
  fc.configureGlobal({ ...fc.readConfigureGlobal(), seed: Number(seed) });
}
