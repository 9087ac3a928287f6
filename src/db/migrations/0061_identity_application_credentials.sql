-- Application credentials, and the access rules they may be limited by (which outlive them, until deleted).
CREATE TABLE identity_application_credentials (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  user_id VARCHAR(64) NOT NULL,
  project_id VARCHAR(64) NOT NULL,
  name VARCHAR(255) NOT NULL,
  description TEXT,
  secret_hash VARCHAR(128) NOT NULL,
  expires_at DATETIME(6),
  unrestricted INTEGER NOT NULL,
  FOREIGN KEY (user_id) REFERENCES identity_users (id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX identity_application_credentials_name ON identity_application_credentials (user_id, name);
CREATE INDEX identity_application_credentials_project ON identity_application_credentials (project_id);

CREATE TABLE identity_application_credential_roles (
  credential_id VARCHAR(64) NOT NULL,
  role_id VARCHAR(64) NOT NULL,
  PRIMARY KEY (credential_id, role_id),
  FOREIGN KEY (credential_id) REFERENCES identity_application_credentials (id) ON DELETE CASCADE
);
CREATE INDEX identity_application_credential_roles_role ON identity_application_credential_roles (role_id);

CREATE TABLE identity_access_rules (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  user_id VARCHAR(64) NOT NULL,
  service VARCHAR(64) NOT NULL,
  path VARCHAR(255) NOT NULL,
  method VARCHAR(16) NOT NULL,
  FOREIGN KEY (user_id) REFERENCES identity_users (id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX identity_access_rules_content ON identity_access_rules (user_id, service, path, method);

CREATE TABLE identity_application_credential_rules (
  credential_id VARCHAR(64) NOT NULL,
  access_rule_id VARCHAR(64) NOT NULL,
  position INTEGER NOT NULL,
  PRIMARY KEY (credential_id, access_rule_id),
  FOREIGN KEY (credential_id) REFERENCES identity_application_credentials (id) ON DELETE CASCADE,
  FOREIGN KEY (access_rule_id) REFERENCES identity_access_rules (id)
);
