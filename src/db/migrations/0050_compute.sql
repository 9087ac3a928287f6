CREATE TABLE compute_counters (
  name VARCHAR(32) NOT NULL PRIMARY KEY,
  value BIGINT NOT NULL
);
INSERT INTO compute_counters (name, value) VALUES ('server', 0);
INSERT INTO compute_counters (name, value) VALUES ('host', 0);
INSERT INTO compute_counters (name, value) VALUES ('keypair', 0);
INSERT INTO compute_counters (name, value) VALUES ('aggregate', 0);
INSERT INTO compute_counters (name, value) VALUES ('epoch', 0);
CREATE TABLE flavors (
  id VARCHAR(255) NOT NULL PRIMARY KEY,
  name VARCHAR(255) NOT NULL,
  memory_mb BIGINT NOT NULL,
  vcpus BIGINT NOT NULL,
  root_gb BIGINT NOT NULL,
  ephemeral_gb BIGINT NOT NULL,
  swap_mb BIGINT NOT NULL,
  rxtx_factor DOUBLE NOT NULL,
  is_public BIGINT NOT NULL,
  disabled BIGINT NOT NULL,
  description TEXT,
  created_at DATETIME(6) NOT NULL,
  updated_at DATETIME(6)
);
CREATE UNIQUE INDEX flavors_name ON flavors (name);
CREATE TABLE flavor_extra_specs (
  flavor_id VARCHAR(255) NOT NULL,
  name VARCHAR(255) NOT NULL,
  value VARCHAR(255) NOT NULL,
  PRIMARY KEY (flavor_id, name)
);
CREATE TABLE flavor_access (
  flavor_id VARCHAR(255) NOT NULL,
  project_id VARCHAR(255) NOT NULL,
  PRIMARY KEY (flavor_id, project_id)
);
CREATE TABLE keypairs (
  user_id VARCHAR(255) NOT NULL,
  name VARCHAR(255) NOT NULL,
  number BIGINT NOT NULL,
  type VARCHAR(16) NOT NULL,
  fingerprint VARCHAR(255) NOT NULL,
  public_key TEXT NOT NULL,
  created_at DATETIME(6) NOT NULL,
  PRIMARY KEY (user_id, name)
);
CREATE TABLE compute_quotas (
  project_id VARCHAR(255) NOT NULL,
  resource VARCHAR(64) NOT NULL,
  hard_limit BIGINT NOT NULL,
  PRIMARY KEY (project_id, resource)
);
CREATE TABLE compute_quota_classes (
  class_name VARCHAR(255) NOT NULL,
  resource VARCHAR(64) NOT NULL,
  hard_limit BIGINT NOT NULL,
  PRIMARY KEY (class_name, resource)
);
CREATE TABLE compute_usages (
  project_id VARCHAR(255) NOT NULL,
  resource VARCHAR(64) NOT NULL,
  used BIGINT NOT NULL,
  PRIMARY KEY (project_id, resource)
);
CREATE TABLE hosts (
  id VARCHAR(36) NOT NULL PRIMARY KEY,
  number BIGINT NOT NULL,
  hostname VARCHAR(255) NOT NULL,
  zone VARCHAR(255) NOT NULL,
  enabled BIGINT NOT NULL,
  disabled_reason VARCHAR(255),
  forced_down BIGINT NOT NULL,
  address VARCHAR(64) NOT NULL,
  chassis VARCHAR(255) NOT NULL,
  hypervisor VARCHAR(64) NOT NULL,
  virt_type VARCHAR(32) NOT NULL,
  hypervisor_version BIGINT NOT NULL,
  cpu_model VARCHAR(255) NOT NULL,
  cpu_arch VARCHAR(32) NOT NULL,
  vcpus BIGINT NOT NULL,
  memory_mb BIGINT NOT NULL,
  disk_gb BIGINT NOT NULL,
  last_seen DATETIME(6) NOT NULL,
  created_at DATETIME(6) NOT NULL,
  updated_at DATETIME(6) NOT NULL
);
CREATE UNIQUE INDEX hosts_hostname ON hosts (hostname);
CREATE TABLE aggregates (
  number BIGINT NOT NULL PRIMARY KEY,
  uuid VARCHAR(36) NOT NULL,
  name VARCHAR(255) NOT NULL,
  created_at DATETIME(6) NOT NULL,
  updated_at DATETIME(6)
);
CREATE UNIQUE INDEX aggregates_name ON aggregates (name);
CREATE TABLE aggregate_hosts (
  aggregate_number BIGINT NOT NULL,
  host_id VARCHAR(36) NOT NULL,
  PRIMARY KEY (aggregate_number, host_id)
);
CREATE TABLE aggregate_metadata (
  aggregate_number BIGINT NOT NULL,
  name VARCHAR(255) NOT NULL,
  value VARCHAR(255) NOT NULL,
  PRIMARY KEY (aggregate_number, name)
);
CREATE TABLE server_groups (
  id VARCHAR(36) NOT NULL PRIMARY KEY,
  project_id VARCHAR(255) NOT NULL,
  user_id VARCHAR(255) NOT NULL,
  name VARCHAR(255) NOT NULL,
  policy VARCHAR(32) NOT NULL,
  rules TEXT NOT NULL,
  created_at DATETIME(6) NOT NULL
);
CREATE INDEX server_groups_project ON server_groups (project_id);
CREATE TABLE servers (
  id VARCHAR(36) NOT NULL PRIMARY KEY,
  number BIGINT NOT NULL,
  name VARCHAR(255) NOT NULL,
  hostname VARCHAR(255) NOT NULL,
  project_id VARCHAR(255) NOT NULL,
  user_id VARCHAR(255) NOT NULL,
  description TEXT,
  image_id VARCHAR(36) NOT NULL,
  boot TEXT NOT NULL,
  flavor_id VARCHAR(255) NOT NULL,
  flavor_name VARCHAR(255) NOT NULL,
  vcpus BIGINT NOT NULL,
  memory_mb BIGINT NOT NULL,
  root_gb BIGINT NOT NULL,
  ephemeral_gb BIGINT NOT NULL,
  swap_mb BIGINT NOT NULL,
  extra_specs TEXT NOT NULL,
  key_name VARCHAR(255),
  key_type VARCHAR(16) NOT NULL,
  public_key TEXT NOT NULL,
  user_data MEDIUMTEXT,
  guest_password TEXT NOT NULL,
  config_drive BIGINT NOT NULL,
  disk_config VARCHAR(16) NOT NULL,
  access_ip_v4 VARCHAR(64) NOT NULL,
  access_ip_v6 VARCHAR(64) NOT NULL,
  zone VARCHAR(255) NOT NULL,
  host_id VARCHAR(36) NOT NULL,
  node VARCHAR(255) NOT NULL,
  reservation_id VARCHAR(32) NOT NULL,
  launch_index BIGINT NOT NULL,
  group_id VARCHAR(36) NOT NULL,
  locked_by VARCHAR(16) NOT NULL,
  locked_reason VARCHAR(255),
  vm_state VARCHAR(32) NOT NULL,
  task_state VARCHAR(32),
  power_state BIGINT NOT NULL,
  desired_state VARCHAR(16) NOT NULL,
  generation BIGINT NOT NULL,
  fence BIGINT NOT NULL,
  state_override VARCHAR(16) NOT NULL,
  seen_power BIGINT NOT NULL,
  seen_generation BIGINT NOT NULL,
  failed_generation BIGINT NOT NULL,
  failed_permanently BIGINT NOT NULL,
  cause TEXT NOT NULL,
  hint TEXT NOT NULL,
  fault_code BIGINT NOT NULL,
  fault_message TEXT NOT NULL,
  fault_details TEXT NOT NULL,
  fault_at DATETIME(6),
  created_at DATETIME(6) NOT NULL,
  updated_at DATETIME(6) NOT NULL,
  launched_at DATETIME(6),
  terminated_at DATETIME(6),
  deleted BIGINT NOT NULL,
  tombstone BIGINT NOT NULL,
  revision BIGINT NOT NULL
);
CREATE INDEX servers_project ON servers (project_id, deleted, created_at);
CREATE INDEX servers_created ON servers (deleted, created_at);
CREATE INDEX servers_host ON servers (host_id, deleted);
CREATE INDEX servers_updated ON servers (updated_at);
CREATE INDEX servers_group ON servers (group_id);
CREATE INDEX servers_tombstone ON servers (host_id, tombstone);
CREATE TABLE server_metadata (
  server_id VARCHAR(36) NOT NULL,
  name VARCHAR(255) NOT NULL,
  value VARCHAR(255) NOT NULL,
  PRIMARY KEY (server_id, name)
);
CREATE TABLE server_tags (
  server_id VARCHAR(36) NOT NULL,
  tag VARCHAR(60) NOT NULL,
  PRIMARY KEY (server_id, tag)
);
CREATE INDEX server_tags_tag ON server_tags (tag);
CREATE TABLE console_tokens (
  digest VARCHAR(64) NOT NULL PRIMARY KEY,
  server_id VARCHAR(36) NOT NULL,
  host_id VARCHAR(36) NOT NULL,
  kind VARCHAR(16) NOT NULL,
  expires_at DATETIME(6) NOT NULL
);
CREATE INDEX console_tokens_expiry ON console_tokens (expires_at);
