import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

const TAIL_BYTES = 8192;

/** The last telling line of a log, for the sentence that says why a process failed. Never throws. */
export function lastWords(logFile: string): string {
  const lines = tailOf(logFile)
    .split('\n')
    .map(plainLine)
    .filter((line) => line !== '');
  const complaint = lines.findLast((line) => /error|fatal|fail|refused|denied|no space/i.test(line));
  return complaint ?? lines.at(-1) ?? `nothing is in ${logFile}`;
}

function tailOf(logFile: string): string {
  try {
    const file = openSync(logFile, 'r');
    try {
      const { size } = fstatSync(file);
      const tail = Buffer.alloc(Math.min(size, TAIL_BYTES));
      readSync(file, tail, 0, tail.length, size - tail.length);
      return tail.toString('utf8');
    } finally {
      closeSync(file);
    }
  } catch {
    return '';
  }
}

/** JSON lines give their message; stack frames say nothing to people. */
function plainLine(line: string): string {
  const text = line.trim();
  if (text.startsWith('at ')) return '';
  try {
    const { message } = JSON.parse(text) as { message?: unknown };
    return typeof message === 'string' ? message : text;
  } catch {
    return text;
  }
}
