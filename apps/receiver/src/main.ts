import 'reflect-metadata';
import { loadConfig, processLogger, runProcess } from '#libs/platform';
import { receiverConfig } from './config.js';
import { createReceiver } from './receiver.js';

const logger = processLogger('receiver');

await runProcess(logger, async () => {
  const app = await createReceiver(loadConfig(receiverConfig, process.env), logger);
  const url = await app.listen();
  return { details: { url }, stop: () => app.close() };
});
