import { messageOf, PlatformError } from '#libs/kernel';

/** An error as the results of commands and reports tell it; `fallbackCode` stands for one that nobody foresaw. */
export function faultOf(error: unknown, fallbackCode: string): { code: string; message: string } {
  const code = error instanceof PlatformError ? error.code : fallbackCode;
  return { code: code.slice(0, 100), message: messageOf(error).slice(0, 1000) };
}
