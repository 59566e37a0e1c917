import { dirname, join } from 'node:path/posix';
import ts from 'typescript';

export interface Import {
  readonly specifier: string;
  readonly line: number;
  /** `import type` leaves nothing behind at run time. */
  readonly isErased: boolean;
}

/** Something in the code that a rule may forbid: `Date.now`, `new Date()`, `process.env`, `forwardRef`. */
export interface Mention {
  readonly what: string;
  readonly line: number;
}

/** What the rules need to know of one file. */
export interface SourceFile {
  /** From the root of the checkout, with slashes. */
  readonly path: string;
  readonly imports: readonly Import[];
  readonly mentions: readonly Mention[];
  /** Lines that hold code: neither blank nor comment alone. */
  readonly codeLines: number;
}

export function parseSource(path: string, text: string): SourceFile {
  const tree = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, false, path.endsWith('x') ? ts.ScriptKind.TSX : ts.ScriptKind.TS);
  const imports: Import[] = [];
  const mentions: Mention[] = [];
  const codeLines = new Set<number>();
  const lineOf = (position: number): number => tree.getLineAndCharacterOfPosition(position).line + 1;

  const visit = (node: ts.Node): void => {
    if (ts.isJSDoc(node) || node.kind === ts.SyntaxKind.EndOfFileToken) return;
    const line = lineOf(node.getStart(tree));
    const found = importIn(node);
    if (found !== undefined) imports.push({ ...found, line });
    const what = mentionIn(node);
    if (what !== undefined) mentions.push({ what, line });
    const parts = node.getChildren(tree);
    if (parts.length === 0 && node.end > node.getStart(tree)) for (let at = line; at <= lineOf(node.end); at += 1) codeLines.add(at);
    parts.forEach(visit);
  };
  visit(tree);
  return { path, imports, mentions, codeLines: codeLines.size };
}

function importIn(node: ts.Node): Omit<Import, 'line'> | undefined {
  if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) {
    const { moduleSpecifier } = node;
    if (moduleSpecifier === undefined || !ts.isStringLiteral(moduleSpecifier)) return undefined;
    const isErased = ts.isExportDeclaration(node) ? node.isTypeOnly : (node.importClause?.isTypeOnly ?? false);
    return { specifier: moduleSpecifier.text, isErased };
  }
  if (!ts.isCallExpression(node) || node.expression.kind !== ts.SyntaxKind.ImportKeyword) return undefined;
  const [argument] = node.arguments;
  return argument !== undefined && ts.isStringLiteral(argument) ? { specifier: argument.text, isErased: false } : undefined;
}

const FORBIDDEN_MEMBERS = new Set(['Date.now', 'performance.now', 'process.env', 'process.hrtime']);

function mentionIn(node: ts.Node): string | undefined {
  if (ts.isPropertyAccessExpression(node) && ts.isIdentifier(node.expression)) {
    const member = `${node.expression.text}.${node.name.text}`;
    return FORBIDDEN_MEMBERS.has(member) ? member : undefined;
  }
  // A date made of a number or a text is a value; without arguments it asks the clock.
  if (ts.isNewExpression(node) && ts.isIdentifier(node.expression) && node.expression.text === 'Date' && !node.arguments?.length)
    return 'new Date()';
  if (ts.isIdentifier(node) && node.text === 'forwardRef') return 'forwardRef';
  return undefined;
}

/** The file that a relative import means, or undefined for a package. */
export function relativeTarget(file: SourceFile, specifier: string): string | undefined {
  if (!specifier.startsWith('.')) return undefined;
  return join(dirname(file.path), specifier).replace(/\.js(x?)$/, '.ts$1');
}
