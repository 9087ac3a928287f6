-- OAuth 1.0a. Secrets must be readable: a signature is checked by making it again. Role ids are a JSON array.
CREATE TABLE identity_consumers (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  secret VARCHAR(64) NOT NULL,
  description TEXT,
  extra TEXT NOT NULL
);

CREATE TABLE identity_request_tokens (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  secret VARCHAR(64) NOT NULL,
  consumer_id VARCHAR(64) NOT NULL,
  project_id VARCHAR(64) NOT NULL,
  verifier VARCHAR(64),
  user_id VARCHAR(64),
  role_ids TEXT NOT NULL,
  expires_at DATETIME(6),
  FOREIGN KEY (consumer_id) REFERENCES identity_consumers (id) ON DELETE CASCADE,
  FOREIGN KEY (project_id) REFERENCES identity_projects (id) ON DELETE CASCADE
);

CREATE TABLE identity_access_tokens (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  secret VARCHAR(64) NOT NULL,
  consumer_id VARCHAR(64) NOT NULL,
  project_id VARCHAR(64) NOT NULL,
  user_id VARCHAR(64) NOT NULL,
  role_ids TEXT NOT NULL,
  expires_at DATETIME(6),
  FOREIGN KEY (consumer_id) REFERENCES identity_consumers (id) ON DELETE CASCADE,
  FOREIGN KEY (project_id) REFERENCES identity_projects (id) ON DELETE CASCADE
);
CREATE INDEX identity_access_tokens_user ON identity_access_tokens (user_id);

-- Signed requests seen: none counts twice. A row goes once its time stamp would be refused anyway.
CREATE TABLE identity_oauth_nonces (
  consumer_id VARCHAR(64) NOT NULL,
  token_id VARCHAR(64) NOT NULL,
  stamp BIGINT NOT NULL,
  nonce VARCHAR(128) NOT NULL,
  PRIMARY KEY (consumer_id, token_id, stamp, nonce)
);
CREATE INDEX identity_oauth_nonces_stamp ON identity_oauth_nonces (stamp);
