import { messageOf, PlatformError } from '#libs/kernel';

/** An error as commands' results and reports tell it. */
export function faultOf(error: unknown): { code: string; message: string } {
  const code = error instanceof PlatformError ? error.code : 'replica-node.failed';
  return { code: code.slice(0, 100), message: messageOf(error).slice(0, 1000) };
}
