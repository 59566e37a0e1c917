import 'reflect-metadata';
import { loadConfig, processLogger, runProcess } from '#libs/platform';
import { createApi } from './api.js';
import { apiConfig } from './config.js';

const logger = processLogger('api');

await runProcess(logger, async () => {
  const app = await createApi(loadConfig(apiConfig, process.env), logger);
  const url = await app.listen();
  return { details: { url }, stop: () => app.close() };
});
