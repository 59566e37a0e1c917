import type { Abstract, FactoryProvider, Type } from '@nestjs/common';

type Token<T> = Abstract<T> | Type<T>;
type Tokens<Args extends readonly unknown[]> = { [K in keyof Args]: Token<Args[K]> };

/** Registers a framework-free class. The compiler checks that the tokens match its constructor. */
export function provide<Args extends readonly unknown[], T>(target: new (...args: Args) => T, ...inject: Tokens<Args>): FactoryProvider<T> {
  return { provide: target, useFactory: (...args: unknown[]) => new target(...(args as unknown as Args)), inject: [...inject] };
}
