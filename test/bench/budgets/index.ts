import type { Budget } from '../budget.js';
import { G11, G12 } from './drop-points.js';
import { G13 } from './open-view.js';
import { G14 } from './random-reads.js';
import { G15 } from './restore.js';
import { SPARSE } from './sparse-disks.js';
import { G7, G8, G9 } from './stored-bytes.js';

/** In the order of the table. */
export const BUDGETS: readonly Budget[] = [G7, G8, G9, G11, G12, G13, G14, G15, SPARSE];
