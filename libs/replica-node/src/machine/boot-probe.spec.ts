import { describe, expect, it } from 'vitest';
import { BootProbe, bootProbeSettings } from './boot-probe.js';

/** As a Debian guest prints it, cut where reads happened to end. */
const DEBIAN = [
  'SeaBIOS (version 1.16.2)\r\nBooting from Hard Disk...\r\n',
  '[    0.000000] Linux vers',
  'ion 6.1.0\r\n',
  '\r\nhv1 log',
  'in: ',
];
const TALKATIVE = Array.from({ length: 30 }, (_, second) => `service ${second} started\n`);

/** Position of the piece that brought the proof; −1 without one. */
function feed(probe: BootProbe, pieces: readonly string[], everyMs = 1000): number {
  for (const [index, piece] of pieces.entries()) if (probe.observe(piece, index * everyMs) !== null) return index;
  return -1;
}

describe('the boot probe', () => {
  it('knows a prompt without an end of line, also when it comes in two pieces', () => {
    const probe = new BootProbe();
    expect(feed(probe, DEBIAN)).toBe(DEBIAN.length - 1);
    expect(probe.proof).toEqual({ kind: 'console-pattern', detail: 'hv1 login:' });
  });

  it.each([
    '[  OK  ] Reached target Multi-User System.',
    '[\u001b[0;32m  OK  \u001b[0m] Reached target \u001b[0;1;39mGraphical Interface\u001b[0m.',
    '[  OK  ] Reached target multi-user.target - Multi-User System.',
    'Cloud-init v. 22.4.2 finished at Mon, 01 Jan 2024 00:00:00 +0000. Datasource DataSourceNone.  Up 21.03 seconds',
    'EVENT:   The CMD command is now available.',
    'fedora login: root (automatic login)',
  ])('takes %s for life', (line) => {
    expect(new BootProbe().observe(`${line}\n`, 0)).toMatchObject({ kind: 'console-pattern' });
  });

  it.each(['GUEST-UP last1=12', '[  OK  ] Reached target Basic System.', 'tick 17 1700000000', 'SAC>'])(
    'does not take %s for life',
    (line) => {
      expect(new BootProbe().observe(`${line}\n`, 0)).toBeNull();
    },
  );

  it('takes a console that goes on talking for life, but not at once', () => {
    const probe = new BootProbe();
    expect(feed(probe, TALKATIVE)).toBe(19);
    expect(probe.proof).toEqual({ kind: 'console-activity', detail: 'lines in 20 different seconds' });
    expect(new BootProbe().observe(TALKATIVE.join(''), 0)).toBeNull();
  });

  it.each([
    ['firmware', 'SeaBIOS\nBooting from Hard Disk...\n'],
    ['the kernel', '[    1.234567] ata1: link is slow to respond\n'],
    ["systemd's waiting", '[ ***  ] A start job is running for /dev/disk/by-uuid/1 (1min 2s / no limit)\r'],
    ['an initial RAM disk that looks for its root', 'Begin: Running /scripts/local-block ... done.\n'],
    ['dracut', '[  OK  ] Finished dracut-initqueue.service - dracut initqueue hook.\n'],
  ])('is not convinced by %s, however long it talks', (_who, line) => {
    expect(
      feed(
        new BootProbe(),
        Array.from({ length: 60 }, () => line),
      ),
    ).toBe(-1);
  });

  it('counts only what comes after the initial RAM disk', () => {
    const probe = new BootProbe();
    expect(feed(probe, ['Welcome to Fedora Linux 38 dracut-057 (Initramfs)!\n', ...TALKATIVE])).toBe(-1);
    expect(feed(probe, ['         Starting Switch Root...\nWelcome to Fedora Linux 38!\n', ...TALKATIVE.slice(0, 20)])).toBe(19);
  });

  it.each([
    ['boot.kernel-panic', '[    2.5] Kernel panic - not syncing: VFS: Unable to mount root fs\n'],
    ['boot.emergency-mode', 'You are in emergency mode. After logging in, type "journalctl -xb"\n'],
    ['boot.no-root', '[  120.1] dracut-initqueue[321]: Warning: dracut-initqueue: timeout, still waiting\n'],
    ['boot.no-root', '(initramfs) '],
    ['boot.no-bootable-device', 'Booting from Hard Disk...\nNo bootable device.\n'],
    ['boot.no-bootable-device', 'grub rescue> '],
  ])('says %s, and then talk proves nothing until the guest boots again', (code, line) => {
    const probe = new BootProbe();
    expect(probe.doubt.code).toBe('boot.no-sign');
    expect(feed(probe, [...TALKATIVE.slice(0, 15), line, '\n', ...TALKATIVE])).toBe(-1);
    expect(probe.doubt.code).toBe(code);
    expect(feed(probe, ['SeaBIOS\n', ...TALKATIVE.slice(0, 20)])).toBe(20);
  });

  it('takes a login prompt for life also after trouble on the way', () => {
    const probe = new BootProbe();
    expect(feed(probe, ['dracut-initqueue timeout - starting timeout scripts\n', 'hv1 login: '])).toBe(1);
  });

  it('goes by the given pattern beside the general ones, or alone', () => {
    expect(new BootProbe(bootProbeSettings(/READY/)).observe('it is READY\n', 0)).toMatchObject({ detail: 'it is READY' });
    expect(new BootProbe(bootProbeSettings(/READY/)).observe('hv1 login:', 0)).not.toBeNull();
    const probe = new BootProbe({ patterns: [/READY/], activity: null });
    expect(feed(probe, [...TALKATIVE, 'login: \n'])).toBe(-1);
    expect(probe.observe('it is READY\n', 0)).toMatchObject({ detail: 'it is READY' });
  });

  it('bears a flood of whatever it looks for', () => {
    const probe = new BootProbe();
    for (const text of ['x', 'Welcome to ', 'ALERT! ', 'dracut-initqueue', '\u001b['])
      for (let piece = 0; piece < 4; piece += 1) probe.observe(text.repeat(20_000), piece);
    expect(probe.proof).toBeNull();
  }, 5000);
});
