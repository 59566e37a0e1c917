import { CodedError } from '#libs/kernel';

/** Every refusal of this feature by its code, so that a reader sees them side by side. */
export const refusals = {
  /** One answer for a token that is unknown, spent, expired or of a wrong secret: which of them it was is nobody's business. */
  tokenNotAccepted: () =>
    new CodedError('enrolment.token-not-accepted', 'unauthenticated', 'the enrolment token is unknown, used or expired'),
  hostNotAllowed: (fqdn: string) =>
    new CodedError('enrolment.host-not-allowed', 'forbidden', 'the enrolment token is for another host name', { fqdn }),
  noReceiver: () => new CodedError('receiver.none', 'unavailable', 'no receiver is running yet'),

  unknownIdentity: () => new CodedError('identity.unknown', 'unauthenticated', 'this identity is not known here; enrol again'),
  foreignIssuer: () =>
    new CodedError('identity.foreign-issuer', 'unauthenticated', "the certificate was not issued by one of its owner's authorities"),
  tenantSuspended: () => new CodedError('tenant.suspended', 'forbidden', 'this tenant is suspended'),
  revoked: () => new CodedError('identity.revoked', 'unauthenticated', 'this identity was revoked; enrol again'),
  locked: () => new CodedError('identity.locked', 'unauthenticated', 'this identity is locked: its key may have been copied; enrol again'),
  denied: () => new CodedError('identity.certificate-denied', 'unauthenticated', 'this certificate was shut out; enrol again'),
  superseded: () =>
    new CodedError('identity.certificate-superseded', 'unauthenticated', 'this certificate was replaced by a newer one, which is in use'),
  expired: () => new CodedError('identity.certificate-expired', 'unauthenticated', 'this certificate has expired; enrol again'),
  generationMismatch: () =>
    new CodedError(
      'identity.generation-mismatch',
      'unauthenticated',
      'this identity was renewed from elsewhere: it is locked now; enrol again',
    ),
  keyReused: () => new CodedError('certificate-request.key-reused', 'invalid', 'a renewal is for a new key'),
  standingUncertain: () =>
    new CodedError('identity.standing-uncertain', 'unavailable', 'this receiver has not heard of revocations for too long; try again'),
  wrongRole: () => new CodedError('identity.wrong-role', 'forbidden', 'this route is for the other kind of peer'),

  notAuthorized: (tag: string) =>
    new CodedError(
      'authorization.not-allowed',
      'forbidden',
      `no authorization entry lets this host update replicas of this tag: holdfast allow add HOST --tag ${tag}`,
      { tag },
    ),
  entryNotFound: () => new CodedError('authorization-entry.not-found', 'not-found', 'there is no such authorization entry'),
  entryExists: () => new CodedError('authorization-entry.exists', 'conflict', 'there is an entry for this server and tag already'),
  storageLocationNotFound: () => new CodedError('storage-location.not-found', 'not-found', 'there is no such storage location'),
  tokenNotFound: () => new CodedError('enrolment-token.not-found', 'not-found', 'there is no such enrolment token'),
  agentNotFound: () => new CodedError('agent.not-found', 'not-found', 'there is no such agent'),
  replicaNodeNotFound: () => new CodedError('replica-node.not-found', 'not-found', 'there is no such replica node'),
  commandNotFound: () => new CodedError('command.not-found', 'not-found', 'there is no such command'),

  tooManyUploads: (uploadsMax: number) =>
    new CodedError('upload.too-many', 'exhausted', `at most ${uploadsMax} uploads at a time from one host`, {
      uploadsMax,
      retryAfterSeconds: 1,
    }),
  tooManyTenantUploads: (uploadsMax: number) =>
    new CodedError(
      'upload.tenant-too-many',
      'exhausted',
      `at most ${uploadsMax} uploads at a time from one tenant; too many wait already`,
      {
        uploadsMax,
        retryAfterSeconds: 5,
      },
    ),
  receiverBusy: () => new CodedError('receiver.busy', 'unavailable', 'this receiver takes no more uploads now', { retryAfterSeconds: 5 }),
  receiverStopping: () =>
    new CodedError('receiver.stopping', 'unavailable', 'this receiver is stopping; ask another', { retryAfterSeconds: 1 }),
  uploadTooSlow: (bytesPerSecondMin: number) =>
    new CodedError('upload.too-slow', 'invalid', `an upload runs at no less than ${bytesPerSecondMin} bytes a second`, {
      bytesPerSecondMin,
    }),
  uploadLengthMissing: () => new CodedError('upload.length-required', 'invalid', 'an upload declares its length'),
  uploadTooLarge: (bytesMax: number) =>
    new CodedError('upload.too-large', 'invalid', `this upload may have at most ${bytesMax} bytes`, { bytesMax }),
  uploadCut: (declaredBytes: number, receivedBytes: number) =>
    new CodedError('upload.cut', 'invalid', 'the upload ended before its declared length', { declaredBytes, receivedBytes }),
  uploadTooLong: (declaredBytes: number) =>
    new CodedError('upload.longer-than-declared', 'invalid', 'the upload is longer than it declared', { declaredBytes }),
} as const;
