-- Unified limits. '' stands for "none": a null would never collide in a unique key. Services may be the cloud's own,
-- which have no rows.
CREATE TABLE identity_registered_limits (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  service_id VARCHAR(64) NOT NULL,
  region_id VARCHAR(255) NOT NULL,
  resource_name VARCHAR(255) NOT NULL,
  default_limit BIGINT NOT NULL,
  description TEXT
);
CREATE UNIQUE INDEX identity_registered_limits_what ON identity_registered_limits (service_id, region_id, resource_name);

-- Of a project, or of a domain.
CREATE TABLE identity_limits (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  project_id VARCHAR(64) NOT NULL,
  domain_id VARCHAR(64) NOT NULL,
  registered_limit_id VARCHAR(64) NOT NULL,
  resource_limit BIGINT NOT NULL,
  description TEXT,
  FOREIGN KEY (registered_limit_id) REFERENCES identity_registered_limits (id)
);
CREATE UNIQUE INDEX identity_limits_whose ON identity_limits (project_id, domain_id, registered_limit_id);
