// The certificate library finds its algorithms through decorator metadata, which must be loaded before it.
import 'reflect-metadata';
import { webcrypto } from 'node:crypto';
import { cryptoProvider } from '@peculiar/x509';

cryptoProvider.set(webcrypto as Crypto);

export * from '@peculiar/x509';
