// The certificate library finds its algorithms through decorator metadata, which must be loaded before it.
import 'reflect-metadata';

export * from '@peculiar/x509';
