import ts from 'typescript';

/** Which error codes a text of the product makes, found by where they stand: nothing has to be run or type-checked. */
export interface FoundCode {
  readonly code: string;
  readonly path: string;
  readonly line: number;
  /** True of `segment.*` and `*.malformed`: the program makes the other part of the code as it runs. */
  readonly isPattern: boolean;
}

/** A function that makes errors: calls of it give the code, or its end, at one place among their arguments. */
interface Maker {
  readonly position: number;
  readonly prefix: string;
}

export interface CodeSource {
  readonly path: string;
  readonly text: string;
}

const CODE = /^[a-z][a-z0-9-]*(\.[a-z0-9][a-z0-9-]*)+$/;
const CARRIER = /^(code|[a-z]\w*Code|[a-z]\w*_code|CODE_\w+)$/;

/** `thing.problem`, lower case, words parted by hyphens. */
export const isErrorCode = (text: string): boolean => CODE.test(text);

/**
 * A code is a literal that is the first argument of `new CodedError`; the `code` of an object, class, variable or default; or an argument
 * for a parameter called `code`, to whose front the called function may put what its own code begins with.
 */
export function findErrorCodes(sources: readonly CodeSource[]): FoundCode[] {
  const trees = sources.map(({ path, text }) => ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true, scriptKind(path)));
  const makersByFile = new Map(trees.map((tree) => [tree, makersOf(tree)]));
  const shared = new Map([...makersByFile.values()].flatMap((makers) => [...makers].filter(([, maker]) => maker.isExported)));
  return trees.flatMap((tree) => codesOf(tree, new Map([...shared, ...makersByFile.get(tree)!])));
}

const scriptKind = (path: string): ts.ScriptKind => (path.endsWith('x') ? ts.ScriptKind.TSX : ts.ScriptKind.TS);

function makersOf(tree: ts.SourceFile): Map<string, Maker & { isExported: boolean }> {
  const makers = new Map<string, Maker & { isExported: boolean }>();
  walk(tree, (node) => {
    if (!ts.isFunctionLike(node)) return;
    const position = node.parameters.findIndex(({ name }) => ts.isIdentifier(name) && CARRIER.test(name.text));
    const name = nameOf(node);
    if (position === -1 || name === undefined) return;
    const parameter = (node.parameters[position]!.name as ts.Identifier).text;
    makers.set(name, { position, prefix: prefixIn(node, parameter), isExported: isExported(node) });
  });
  return makers;
}

function nameOf(node: ts.SignatureDeclaration): string | undefined {
  if (ts.isConstructorDeclaration(node)) return node.parent.name?.text;
  if (node.name !== undefined && ts.isIdentifier(node.name)) return node.name.text;
  return ts.isVariableDeclaration(node.parent) && ts.isIdentifier(node.parent.name) ? node.parent.name.text : undefined;
}

function isExported(node: ts.Node): boolean {
  const owner = ts.isConstructorDeclaration(node) ? node.parent : node;
  return ts.canHaveModifiers(owner) && (ts.getModifiers(owner)?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword) ?? false);
}

/** What stands before `${code}` in the function's template, when it has one. */
function prefixIn(maker: ts.Node, parameter: string): string {
  let prefix = '';
  walk(maker, (node) => {
    if (!ts.isTemplateExpression(node) || !/^[a-z][a-z0-9-]*\.$/.test(node.head.text)) return;
    if (node.templateSpans[0]!.expression.getText() === parameter) prefix = node.head.text;
  });
  return prefix;
}

function codesOf(tree: ts.SourceFile, makers: ReadonlyMap<string, Maker>): FoundCode[] {
  const found: FoundCode[] = [];
  const take = (expression: ts.Node | undefined, prefix = '', isSurelyCode = prefix !== ''): void => {
    for (const value of expression === undefined ? [] : valuesOf(expression)) {
      const isPattern = ts.isTemplateExpression(value);
      const code = isPattern ? patternOf(value) : prefix + value.text;
      if (code === undefined || !(isPattern || isSurelyCode || isErrorCode(code))) continue;
      found.push({ code, isPattern, path: tree.fileName, line: tree.getLineAndCharacterOfPosition(value.getStart()).line + 1 });
    }
  };
  walk(tree, (node) => {
    if (ts.isCallExpression(node) || ts.isNewExpression(node)) {
      const name = node.expression.kind === ts.SyntaxKind.SuperKeyword ? parentClassOf(node) : lastNameOf(node.expression);
      if (name === 'CodedError') take(node.arguments?.[0], '', true);
      else if (name !== undefined && makers.has(name)) take(node.arguments?.[makers.get(name)!.position], makers.get(name)!.prefix);
    } else if (ts.isPropertyAssignment(node) || ts.isPropertyDeclaration(node) || ts.isVariableDeclaration(node) || ts.isParameter(node)) {
      if (CARRIER.test(node.name.getText())) take(node.initializer);
    }
  });
  return found;
}

/** The literals that an expression can have as its value. */
function valuesOf(node: ts.Node): (ts.StringLiteralLike | ts.TemplateExpression)[] {
  if (ts.isStringLiteralLike(node) || ts.isTemplateExpression(node)) return [node];
  if (ts.isConditionalExpression(node)) return [...valuesOf(node.whenTrue), ...valuesOf(node.whenFalse)];
  if (ts.isParenthesizedExpression(node) || ts.isAsExpression(node)) return valuesOf(node.expression);
  if (ts.isObjectLiteralExpression(node)) return node.properties.flatMap(literalIn);
  const isFallback = ts.isBinaryExpression(node) && /^(\?\?|\|\|)$/.test(node.operatorToken.getText());
  return isFallback ? [...valuesOf(node.left), ...valuesOf(node.right)] : [];
}

/** Undefined of what the function's own parameter completes: it is found where the function is called. */
function patternOf({ head, templateSpans }: ts.TemplateExpression): string | undefined {
  const [span] = templateSpans;
  const pattern = `${head.text}*${span!.literal.text}`;
  const isCode = templateSpans.length === 1 && (/^[a-z][a-z0-9-]*\.\*$/.test(pattern) || /^\*\.[a-z][a-z0-9-]*$/.test(pattern));
  return isCode && !isParameter(span!.expression) ? pattern : undefined;
}

/** An entry of a table of codes. */
function literalIn(property: ts.ObjectLiteralElementLike): ts.StringLiteralLike[] {
  return ts.isPropertyAssignment(property) && ts.isStringLiteralLike(property.initializer) ? [property.initializer] : [];
}

function isParameter(expression: ts.Expression): boolean {
  if (!ts.isIdentifier(expression) || !CARRIER.test(expression.text)) return false;
  for (let at: ts.Node | undefined = expression; at !== undefined; at = at.parent) {
    if (ts.isFunctionLike(at) && at.parameters.some(({ name }) => name.getText() === expression.text)) return true;
  }
  return false;
}

function lastNameOf(expression: ts.Expression): string | undefined {
  if (ts.isIdentifier(expression)) return expression.text;
  return ts.isPropertyAccessExpression(expression) ? expression.name.text : undefined;
}

function parentClassOf(node: ts.Node): string | undefined {
  let at: ts.Node | undefined = node;
  while (at !== undefined && !ts.isClassLike(at)) at = at.parent;
  return at?.heritageClauses?.[0]?.types[0]?.expression.getText();
}

function walk(node: ts.Node, visit: (node: ts.Node) => void): void {
  visit(node);
  ts.forEachChild(node, (child) => walk(child, visit));
}
