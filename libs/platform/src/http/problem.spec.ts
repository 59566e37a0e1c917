import { NotFoundException } from '@nestjs/common';
import { describe, expect, it } from 'vitest';
import { CodedError, type ErrorKind } from '#libs/kernel';
import { toProblem } from './problem.js';

const REFERENCE = '0190aaaa-0000-7000-8000-000000000001';

describe('toProblem', () => {
  it.each<[ErrorKind, number]>([
    ['invalid', 400],
    ['unauthenticated', 401],
    ['forbidden', 403],
    ['not-found', 404],
    ['conflict', 409],
    ['gone', 410],
    ['exhausted', 429],
    ['unavailable', 503],
  ])('answers the kind %s with %i, the code and the details', (kind, status) => {
    const { problem, isFault } = toProblem(new CodedError('thing.wrong', kind, 'it is wrong', { thing: 7 }), REFERENCE);
    expect(problem).toMatchObject({ status, code: 'thing.wrong', detail: 'it is wrong', details: { thing: 7 }, requestId: REFERENCE });
    expect(isFault).toBe(false);
  });

  it.each([
    ['corrupt data', new CodedError('segment.hash-mismatch', 'corrupt', 'secret path /x', { path: '/x' })],
    ['an unexpected error', new TypeError('secret of mine')],
    ['something that is no error', 'secret'],
  ])('gives a reference and no text for %s', (_name, error) => {
    const { problem, isFault } = toProblem(error, REFERENCE);
    expect(problem).toMatchObject({ status: 500, code: 'server.fault' });
    expect(problem.detail).toContain(REFERENCE);
    expect(JSON.stringify(problem)).not.toMatch(/secret|\/x/);
    expect(isFault).toBe(true);
  });

  it.each([
    [new NotFoundException('Cannot GET /x'), 404, 'route.not-found'],
    [Object.assign(new Error('x'), { statusCode: 413, code: 'FST_ERR_CTP_BODY_TOO_LARGE' }), 413, 'request.too-large'],
    [Object.assign(new Error('x'), { statusCode: 400, code: 'FST_ERR_CTP_INVALID_JSON_BODY' }), 400, 'request.malformed'],
  ])('gives what the framework refuses a code of ours', (error, status, code) => {
    expect(toProblem(error, REFERENCE).problem).toMatchObject({ status, code });
  });
});
