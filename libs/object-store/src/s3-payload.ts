import type { PutObjectCommand, UploadPartCommand } from '@aws-sdk/client-s3';

/** The checksum header of a payload with this SHA-256. */
export function checksumOf(sha256: string): string {
  return Buffer.from(sha256, 'hex').toString('base64');
}

/** Signs the payload's SHA-256 with the request: every S3 server compares it with what arrived, before anything becomes visible. */
export function signPayloadHash(command: PutObjectCommand | UploadPartCommand, sha256: string): void {
  // Both have the same steps; their union has no common signature.
  (command as PutObjectCommand).middlewareStack.add(
    (next) => (args) => {
      (args.request as { headers: Record<string, string> }).headers['x-amz-content-sha256'] = sha256;
      return next(args);
    },
    { step: 'build', name: 'signPayloadHash' },
  );
}
