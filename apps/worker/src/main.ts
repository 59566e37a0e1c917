import 'reflect-metadata';
import { loadConfig, processLogger, runProcess } from '#libs/platform';
import { workerConfig } from './config.js';
import { startWorker } from './worker.js';

const logger = processLogger('worker');

await runProcess(logger, () => startWorker(loadConfig(workerConfig, process.env), logger));
