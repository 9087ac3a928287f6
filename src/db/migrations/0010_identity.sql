-- Identity. A domain is a project row with is_domain = 1 and domain_id = ''. '' stands for "none" wherever a unique
-- key needs it (a null would never collide).
-- auth_generation grows whenever the tokens of that user, project or domain must end (disabled, password changed):
-- a token carries the value it was made under.
CREATE TABLE identity_state (
  id INTEGER NOT NULL PRIMARY KEY,
  epoch BIGINT NOT NULL
);
INSERT INTO identity_state (id, epoch) VALUES (1, 1);

CREATE TABLE identity_projects (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  domain_id VARCHAR(64) NOT NULL,
  parent_id VARCHAR(64) NOT NULL,
  name VARCHAR(255) NOT NULL,
  is_domain INTEGER NOT NULL,
  enabled INTEGER NOT NULL,
  description TEXT,
  options TEXT NOT NULL,
  extra TEXT NOT NULL,
  auth_generation BIGINT NOT NULL
);
CREATE UNIQUE INDEX identity_projects_name ON identity_projects (domain_id, name);
CREATE INDEX identity_projects_parent ON identity_projects (parent_id);

CREATE TABLE identity_project_tags (
  project_id VARCHAR(64) NOT NULL,
  name VARCHAR(255) NOT NULL,
  PRIMARY KEY (project_id, name),
  FOREIGN KEY (project_id) REFERENCES identity_projects (id) ON DELETE CASCADE
);
CREATE INDEX identity_project_tags_name ON identity_project_tags (name);

CREATE TABLE identity_users (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  domain_id VARCHAR(64) NOT NULL,
  name VARCHAR(255) NOT NULL,
  enabled INTEGER NOT NULL,
  default_project_id VARCHAR(64),
  password_hash VARCHAR(128),
  password_expires_at DATETIME(6),
  options TEXT NOT NULL,
  extra TEXT NOT NULL,
  created_at DATETIME(6) NOT NULL,
  auth_generation BIGINT NOT NULL,
  FOREIGN KEY (domain_id) REFERENCES identity_projects (id)
);
CREATE UNIQUE INDEX identity_users_name ON identity_users (domain_id, name);
CREATE INDEX identity_users_by_name ON identity_users (name);

CREATE TABLE identity_groups (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  domain_id VARCHAR(64) NOT NULL,
  name VARCHAR(255) NOT NULL,
  description TEXT,
  extra TEXT NOT NULL,
  FOREIGN KEY (domain_id) REFERENCES identity_projects (id)
);
CREATE UNIQUE INDEX identity_groups_name ON identity_groups (domain_id, name);

CREATE TABLE identity_memberships (
  user_id VARCHAR(64) NOT NULL,
  group_id VARCHAR(64) NOT NULL,
  PRIMARY KEY (user_id, group_id),
  FOREIGN KEY (user_id) REFERENCES identity_users (id) ON DELETE CASCADE,
  FOREIGN KEY (group_id) REFERENCES identity_groups (id) ON DELETE CASCADE
);
CREATE INDEX identity_memberships_group ON identity_memberships (group_id);

CREATE TABLE identity_roles (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  domain_id VARCHAR(64) NOT NULL,
  name VARCHAR(255) NOT NULL,
  description TEXT,
  options TEXT NOT NULL,
  extra TEXT NOT NULL
);
CREATE UNIQUE INDEX identity_roles_name ON identity_roles (domain_id, name);

CREATE TABLE identity_implied_roles (
  prior_role_id VARCHAR(64) NOT NULL,
  implied_role_id VARCHAR(64) NOT NULL,
  PRIMARY KEY (prior_role_id, implied_role_id),
  FOREIGN KEY (prior_role_id) REFERENCES identity_roles (id) ON DELETE CASCADE,
  FOREIGN KEY (implied_role_id) REFERENCES identity_roles (id) ON DELETE CASCADE
);

-- Who (actor: user, group) has which role where (target: project, domain, system). target_id is 'system' for the system.
CREATE TABLE identity_assignments (
  actor_kind VARCHAR(8) NOT NULL,
  actor_id VARCHAR(64) NOT NULL,
  target_kind VARCHAR(8) NOT NULL,
  target_id VARCHAR(64) NOT NULL,
  role_id VARCHAR(64) NOT NULL,
  inherited INTEGER NOT NULL,
  PRIMARY KEY (actor_kind, actor_id, target_kind, target_id, role_id, inherited),
  FOREIGN KEY (role_id) REFERENCES identity_roles (id) ON DELETE CASCADE
);
CREATE INDEX identity_assignments_target ON identity_assignments (target_kind, target_id);

CREATE TABLE identity_regions (
  id VARCHAR(255) NOT NULL PRIMARY KEY,
  parent_region_id VARCHAR(255),
  description TEXT NOT NULL,
  extra TEXT NOT NULL,
  FOREIGN KEY (parent_region_id) REFERENCES identity_regions (id)
);

-- Services and endpoints that were added by hand; the cloud's own are generated from each request's URL.
CREATE TABLE identity_services (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  type VARCHAR(255) NOT NULL,
  name VARCHAR(255),
  description TEXT,
  enabled INTEGER NOT NULL,
  extra TEXT NOT NULL
);

CREATE TABLE identity_endpoints (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  service_id VARCHAR(64) NOT NULL,
  interface VARCHAR(8) NOT NULL,
  region_id VARCHAR(255),
  url TEXT NOT NULL,
  enabled INTEGER NOT NULL,
  extra TEXT NOT NULL,
  FOREIGN KEY (region_id) REFERENCES identity_regions (id)
);
CREATE INDEX identity_endpoints_service ON identity_endpoints (service_id);

-- Tokens that were revoked one by one; a row goes once its token would have expired anyway.
CREATE TABLE identity_revocations (
  audit_id VARCHAR(32) NOT NULL PRIMARY KEY,
  expires_at DATETIME(6) NOT NULL
);
