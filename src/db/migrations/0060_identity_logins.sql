-- What a login looks at beyond the password: how old it is and who set it, failures since the last login, the day of
-- the last one. Times of passwords that were set before are not known, and stay null.
ALTER TABLE identity_users ADD COLUMN password_created_at DATETIME(6);
ALTER TABLE identity_users ADD COLUMN password_self_service INTEGER NOT NULL DEFAULT 0;
ALTER TABLE identity_users ADD COLUMN failed_auth_count INTEGER NOT NULL DEFAULT 0;
ALTER TABLE identity_users ADD COLUMN failed_auth_at DATETIME(6);
ALTER TABLE identity_users ADD COLUMN last_active_on VARCHAR(10) NOT NULL DEFAULT '';
UPDATE identity_users SET last_active_on = SUBSTR(created_at, 1, 10) WHERE last_active_on = '';

-- Hashes a user had before; the highest number is the latest.
CREATE TABLE identity_password_history (
  user_id VARCHAR(64) NOT NULL,
  number BIGINT NOT NULL,
  password_hash VARCHAR(128) NOT NULL,
  PRIMARY KEY (user_id, number),
  FOREIGN KEY (user_id) REFERENCES identity_users (id) ON DELETE CASCADE
);

-- What ended tokens, for OS-REVOKE. Tokens are checked against generations and identity_revocations, not these.
CREATE TABLE identity_revocation_events (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  user_id VARCHAR(64),
  project_id VARCHAR(64),
  domain_id VARCHAR(64),
  trust_id VARCHAR(64),
  audit_id VARCHAR(32),
  revoked_at DATETIME(6) NOT NULL
);
CREATE INDEX identity_revocation_events_at ON identity_revocation_events (revoked_at);
