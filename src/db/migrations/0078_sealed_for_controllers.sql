-- What the machine gets that becomes a controller with this token, sealed with a key that only the token's text has.
ALTER TABLE enrolment_tokens ADD COLUMN sealed TEXT;
