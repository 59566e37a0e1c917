import { describe, expect, it } from 'vitest';
import { BootProbe } from './boot-probe.js';

/** As a Debian guest prints it, cut where reads happened to end. */
const DEBIAN = [
  'SeaBIOS (version 1.16.2)\r\nBooting from Hard Disk...\r\n',
  '[    0.000000] Linux vers',
  'ion 6.1.0\r\n',
  '\r\nhv1 log',
  'in: ',
];
const TALKATIVE = Array.from({ length: 30 }, (_, second) => `[${second}.0] service ${second} started\n`);

function feed(probe: BootProbe, pieces: readonly string[], everyMs = 1000): number {
  for (const [index, piece] of pieces.entries()) if (probe.observe(piece, index * everyMs) !== null) return index;
  return -1;
}

describe('the boot probe', () => {
  it('knows a prompt without an end of line, also when it comes in two pieces', () => {
    const probe = new BootProbe();
    expect(feed(probe, DEBIAN)).toBe(DEBIAN.length - 1);
    expect(probe.proof).toEqual({ kind: 'console-pattern', line: 'hv1 login:' });
  });

  it.each(['GUEST-UP last1=12 last2=12', '[  OK  ] Reached target Multi-User System.', 'tick 17 1700000000'])(
    'takes %s for life',
    (line) => {
      expect(new BootProbe().observe(`${line}\n`, 0)).toEqual({ kind: 'console-pattern', line });
    },
  );

  it('takes a console that goes on talking for life, but not at once', () => {
    const probe = new BootProbe();
    const at = feed(probe, TALKATIVE);
    expect(at).toBeGreaterThanOrEqual(19);
    expect(probe.proof).toMatchObject({ kind: 'console-activity', lineCount: 20, spanMs: 19_000 });
    expect(new BootProbe().observe(TALKATIVE.join(''), 0)).toBeNull();
  });

  it('is not deceived by firmware, boot loaders, or a panic', () => {
    const firmware = Array.from({ length: 60 }, () => 'SeaBIOS\nBooting from Hard Disk...\nNo bootable device.\n');
    expect(feed(new BootProbe(), firmware)).toBe(-1);
    const panicking = [...TALKATIVE.slice(0, 15), 'Kernel panic - not syncing: VFS\n', ...TALKATIVE.slice(0, 10)];
    expect(feed(new BootProbe(), panicking)).toBe(-1);
  });

  it('goes by the given pattern alone when told so', () => {
    const probe = new BootProbe({ pattern: /READY/, activity: null });
    expect(feed(probe, [...TALKATIVE, 'login: \n'])).toBe(-1);
    expect(probe.observe('it is READY\n', 0)).toMatchObject({ line: 'it is READY' });
  });

  it('keeps a bounded rest of a line without an end', () => {
    const probe = new BootProbe({ pattern: /^x{5000}/, activity: null });
    for (let piece = 0; piece < 20; piece += 1) expect(probe.observe('x'.repeat(1000), piece)).toBeNull();
  });
});
