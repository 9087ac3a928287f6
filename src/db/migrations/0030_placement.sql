CREATE TABLE resource_providers (
  uuid VARCHAR(36) NOT NULL PRIMARY KEY,
  name VARCHAR(200) NOT NULL,
  generation BIGINT NOT NULL,
  parent_uuid VARCHAR(36),
  created_at DATETIME(6) NOT NULL,
  updated_at DATETIME(6) NOT NULL
);
CREATE UNIQUE INDEX resource_providers_name ON resource_providers (name);
CREATE TABLE inventories (
  provider_uuid VARCHAR(36) NOT NULL,
  resource_class VARCHAR(255) NOT NULL,
  total BIGINT NOT NULL,
  reserved BIGINT NOT NULL,
  min_unit BIGINT NOT NULL,
  max_unit BIGINT NOT NULL,
  step_size BIGINT NOT NULL,
  allocation_ratio DOUBLE NOT NULL,
  capacity BIGINT NOT NULL,
  used BIGINT NOT NULL,
  PRIMARY KEY (provider_uuid, resource_class)
);
CREATE TABLE allocation_consumers (
  uuid VARCHAR(36) NOT NULL PRIMARY KEY,
  generation BIGINT NOT NULL,
  project_id VARCHAR(255) NOT NULL,
  user_id VARCHAR(255) NOT NULL,
  consumer_type VARCHAR(255) NOT NULL,
  created_at DATETIME(6) NOT NULL
);
CREATE INDEX allocation_consumers_project ON allocation_consumers (project_id, user_id);
CREATE TABLE allocations (
  consumer_uuid VARCHAR(36) NOT NULL,
  provider_uuid VARCHAR(36) NOT NULL,
  resource_class VARCHAR(255) NOT NULL,
  amount BIGINT NOT NULL,
  PRIMARY KEY (consumer_uuid, provider_uuid, resource_class)
);
CREATE INDEX allocations_provider ON allocations (provider_uuid);
CREATE TABLE resource_classes (
  name VARCHAR(255) NOT NULL PRIMARY KEY
);
CREATE TABLE traits (
  name VARCHAR(255) NOT NULL PRIMARY KEY
);
CREATE TABLE provider_traits (
  provider_uuid VARCHAR(36) NOT NULL,
  trait VARCHAR(255) NOT NULL,
  PRIMARY KEY (provider_uuid, trait)
);
CREATE TABLE provider_aggregates (
  provider_uuid VARCHAR(36) NOT NULL,
  aggregate_uuid VARCHAR(36) NOT NULL,
  PRIMARY KEY (provider_uuid, aggregate_uuid)
);
