-- Federation's resources. Nobody can log in by them yet.
CREATE TABLE identity_providers (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  domain_id VARCHAR(64) NOT NULL,
  enabled INTEGER NOT NULL,
  description TEXT,
  authorization_ttl BIGINT,
  FOREIGN KEY (domain_id) REFERENCES identity_projects (id) ON DELETE CASCADE
);

-- How an identity provider names itself; no two have a name in common.
CREATE TABLE identity_provider_remote_ids (
  remote_id VARCHAR(255) NOT NULL PRIMARY KEY,
  idp_id VARCHAR(64) NOT NULL,
  FOREIGN KEY (idp_id) REFERENCES identity_providers (id) ON DELETE CASCADE
);
CREATE INDEX identity_provider_remote_ids_idp ON identity_provider_remote_ids (idp_id);

CREATE TABLE identity_mappings (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  rules TEXT NOT NULL
);

CREATE TABLE identity_federation_protocols (
  id VARCHAR(64) NOT NULL,
  idp_id VARCHAR(64) NOT NULL,
  mapping_id VARCHAR(64) NOT NULL,
  remote_id_attribute VARCHAR(64),
  PRIMARY KEY (idp_id, id),
  FOREIGN KEY (idp_id) REFERENCES identity_providers (id) ON DELETE CASCADE
);

CREATE TABLE identity_service_providers (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  enabled INTEGER NOT NULL,
  description TEXT,
  auth_url VARCHAR(256) NOT NULL,
  sp_url VARCHAR(256) NOT NULL,
  relay_state_prefix VARCHAR(256) NOT NULL
);
