-- Domain configuration, legacy policies and the endpoint filter. '' stands for "none" in keys.
CREATE TABLE identity_domain_config (
  domain_id VARCHAR(64) NOT NULL,
  group_name VARCHAR(64) NOT NULL,
  option_name VARCHAR(64) NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (domain_id, group_name, option_name),
  FOREIGN KEY (domain_id) REFERENCES identity_projects (id) ON DELETE CASCADE
);

CREATE TABLE identity_policies (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  type VARCHAR(255) NOT NULL,
  blob_text TEXT NOT NULL,
  extra TEXT NOT NULL
);

-- What a policy is for: an endpoint, a service, or a service in a region. Endpoints and services may be the cloud's
-- own, which have no rows.
CREATE TABLE identity_policy_associations (
  endpoint_id VARCHAR(64) NOT NULL,
  service_id VARCHAR(64) NOT NULL,
  region_id VARCHAR(255) NOT NULL,
  policy_id VARCHAR(64) NOT NULL,
  PRIMARY KEY (endpoint_id, service_id, region_id),
  FOREIGN KEY (policy_id) REFERENCES identity_policies (id) ON DELETE CASCADE
);

CREATE TABLE identity_project_endpoints (
  project_id VARCHAR(64) NOT NULL,
  endpoint_id VARCHAR(64) NOT NULL,
  PRIMARY KEY (project_id, endpoint_id),
  FOREIGN KEY (project_id) REFERENCES identity_projects (id) ON DELETE CASCADE
);
CREATE INDEX identity_project_endpoints_endpoint ON identity_project_endpoints (endpoint_id);

CREATE TABLE identity_endpoint_groups (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  name VARCHAR(255) NOT NULL,
  description TEXT,
  filters TEXT NOT NULL
);

CREATE TABLE identity_project_endpoint_groups (
  project_id VARCHAR(64) NOT NULL,
  endpoint_group_id VARCHAR(64) NOT NULL,
  PRIMARY KEY (project_id, endpoint_group_id),
  FOREIGN KEY (project_id) REFERENCES identity_projects (id) ON DELETE CASCADE,
  FOREIGN KEY (endpoint_group_id) REFERENCES identity_endpoint_groups (id) ON DELETE CASCADE
);
CREATE INDEX identity_project_endpoint_groups_group ON identity_project_endpoint_groups (endpoint_group_id);
