import { Body, Controller, Post } from '@nestjs/common';
import { enrolmentAnswer, enrolmentRequest, type EnrolmentAnswer, type EnrolmentRequest } from '#libs/contracts/wire';
import { Responds } from '#libs/platform';
import { PublicRoute } from '#libs/tenancy';
import { EnrolIdentity } from '../use-cases/enrol-identity.js';

/** At the api, open to everyone: the token is the only proof. */
@Controller('enrolment/v1')
export class EnrolmentController {
  constructor(private readonly enrolIdentity: EnrolIdentity) {}

  @Post('identities')
  @PublicRoute()
  @Responds(201, enrolmentAnswer)
  enrol(@Body({ schema: enrolmentRequest }) request: EnrolmentRequest): Promise<EnrolmentAnswer> {
    return this.enrolIdentity.execute(request);
  }
}
