import type { Budget } from '../budget.js';

export const BUDGETS: readonly Budget[] = [];
