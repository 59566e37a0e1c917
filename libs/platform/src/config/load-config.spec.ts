import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { databaseConfig, listenConfig, loadConfig, loadSecrets, redisUrl, secretsConfig } from './load-config.js';

const schema = z.object({ ...databaseConfig.shape, ...listenConfig.shape, REDIS_URL: redisUrl });
const good = { DATABASE_URL: 'postgres://a:hunter2@h/d', PLATFORM_DATABASE_URL: 'postgres://b:c@h/d', REDIS_URL: 'unix:///run/redis.sock' };

describe('loadConfig', () => {
  it('fills in what has a default and hides what is secret', () => {
    const config = loadConfig(schema, { ...good, LISTEN_PORT: '8443', UNRELATED: 'x' });
    expect(config).toMatchObject({ LISTEN_HOST: '127.0.0.1', LISTEN_PORT: 8443, DATABASE_POOL_SIZE: 10 });
    expect(JSON.stringify(config)).not.toContain('hunter2');
    expect(config.DATABASE_URL.reveal()).toBe(good.DATABASE_URL);
  });

  it('tells every fault at once, and no value', () => {
    const load = () => loadConfig(schema, { DATABASE_URL: 'mysql://hunter2', LISTEN_PORT: '99999', PLATFORM_DATABASE_URL: '' });
    expect(load).toThrow(/DATABASE_URL: .*LISTEN_PORT: |LISTEN_PORT: .*DATABASE_URL: /);
    expect(load).toThrow(/PLATFORM_DATABASE_URL/);
    expect(load).toThrow(/REDIS_URL/);
    expect(load).not.toThrow(/hunter2/);
  });
});

describe('loadSecrets', () => {
  const key = Buffer.alloc(32, 7).toString('base64');

  it('takes both keys from the environment', () => {
    expect(loadSecrets(loadConfig(secretsConfig, { PEPPER: key, KEK: key })).kek.reveal()).toEqual(Buffer.alloc(32, 7));
  });

  it.each([
    ['a missing key', { PEPPER: key }, /SECRETS_FILE, or both/],
    ['a file that is not there', { SECRETS_FILE: '/nowhere/secrets.json' }, /cannot be read/],
  ])('refuses %s', (_name, env, message) => {
    expect(() => loadSecrets(loadConfig(secretsConfig, env))).toThrow(message);
  });

  it('refuses a key of another length', () => {
    expect(() => loadConfig(secretsConfig, { PEPPER: 'c2hvcnQ=', KEK: key })).toThrow(/PEPPER: give 32 bytes/);
  });
});
