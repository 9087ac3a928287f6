-- Trusts. remaining_uses counts the tokens that may still be made; null: any number.
CREATE TABLE identity_trusts (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  trustor_user_id VARCHAR(64) NOT NULL,
  trustee_user_id VARCHAR(64) NOT NULL,
  project_id VARCHAR(64),
  impersonation INTEGER NOT NULL,
  expires_at DATETIME(6),
  remaining_uses BIGINT,
  redelegated_trust_id VARCHAR(64),
  redelegation_count INTEGER NOT NULL,
  extra TEXT NOT NULL
);
-- Nulls do not collide: two trusts without an end may be alike.
CREATE UNIQUE INDEX identity_trusts_content ON identity_trusts (trustor_user_id, trustee_user_id, project_id, impersonation, expires_at);
CREATE INDEX identity_trusts_trustee ON identity_trusts (trustee_user_id);
CREATE INDEX identity_trusts_project ON identity_trusts (project_id);
CREATE INDEX identity_trusts_redelegated ON identity_trusts (redelegated_trust_id);

CREATE TABLE identity_trust_roles (
  trust_id VARCHAR(64) NOT NULL,
  role_id VARCHAR(64) NOT NULL,
  PRIMARY KEY (trust_id, role_id),
  FOREIGN KEY (trust_id) REFERENCES identity_trusts (id) ON DELETE CASCADE
);
