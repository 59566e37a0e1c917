import { CodedError } from '#libs/kernel';

/** How a differencing file says where its parent lies. */
export interface ParentFile {
  /** The name of the parent's file, beside which the child will lie. */
  readonly fileName: string;
  /** Where a Windows host will find the parent; the bare file name if left out. */
  readonly absolutePath?: string;
}

const PATH_CHARACTERS_MAX = 255;
const CODE_OF_FORMAT = { vhd: 'vhd.parent-name-invalid', vhdx: 'vhdx.parent-name-invalid' } as const;

/** Throws `vhd.parent-name-invalid` or `vhdx.parent-name-invalid`. */
export function assertParentName(format: keyof typeof CODE_OF_FORMAT, { fileName, absolutePath }: ParentFile): void {
  const isName = fileName.length > 0 && fileName.length <= PATH_CHARACTERS_MAX && !/[\\/:\0]/.test(fileName);
  if (!isName || (absolutePath ?? '').length > PATH_CHARACTERS_MAX) {
    throw new CodedError(CODE_OF_FORMAT[format], 'invalid', 'the parent is a file name without a directory, of at most 255 characters');
  }
}
