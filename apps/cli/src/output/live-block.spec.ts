import { describe, expect, it } from 'vitest';
import { LiveBlock } from './live-block.js';

function recorder(isTTY: boolean): { out: NodeJS.WriteStream; written: () => string } {
  let written = '';
  const out = { isTTY, columns: 20, write: (text: string) => (written += text) !== '' } as unknown as NodeJS.WriteStream;
  return { out, written: () => written };
}

const running = { text: '▸ boot', isFinal: false };
const done = { text: '✔ place', isFinal: true };

describe('LiveBlock', () => {
  it('draws again in place on a terminal, each line as one', () => {
    const { out, written } = recorder(true);
    const block = new LiveBlock(out);
    block.show([done, running]);
    block.show([done, { text: `\u001b[32m✔ boot ${'x'.repeat(40)}\u001b[39m`, isFinal: true }]);
    expect(written()).toBe(
      `\u001b[2K✔ place\n\u001b[2K▸ boot\n\u001b[0J\u001b[2A\u001b[2K✔ place\n\u001b[2K✔ boot ${'x'.repeat(12)}\n\u001b[0J`,
    );
  });

  it('writes each line once elsewhere, when it is final', () => {
    const { out, written } = recorder(false);
    const block = new LiveBlock(out);
    block.show([done, running]);
    block.show([done, { text: '\u001b[32m✔ boot\u001b[39m', isFinal: true }]);
    expect(written()).toBe('✔ place\n✔ boot\n');
  });
});
