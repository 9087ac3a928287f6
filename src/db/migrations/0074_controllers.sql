-- Several controllers on one database: who lives, who may do what only one may do at a time, and what they share besides
-- rows. Times are the database's.
CREATE TABLE controllers (
  id VARCHAR(36) NOT NULL PRIMARY KEY,
  name VARCHAR(255) NOT NULL,
  version VARCHAR(64) NOT NULL,
  link_address VARCHAR(255) NOT NULL,
  api_address VARCHAR(255) NOT NULL,
  started_at DATETIME(6) NOT NULL,
  seen_at DATETIME(6) NOT NULL
);
CREATE TABLE leases (
  name VARCHAR(64) NOT NULL PRIMARY KEY,
  holder VARCHAR(36) NOT NULL,
  until DATETIME(6) NOT NULL
);
-- Keys that seal tokens and stored credentials, each sealed with the master key. A ring's version grows with each change.
CREATE TABLE secret_key_rings (
  ring VARCHAR(32) NOT NULL PRIMARY KEY,
  version BIGINT NOT NULL
);
CREATE TABLE secret_keys (
  ring VARCHAR(32) NOT NULL,
  number BIGINT NOT NULL,
  sealed TEXT NOT NULL,
  in_use_since DATETIME(6) NOT NULL,
  PRIMARY KEY (ring, number)
);
-- What the controller that writes to OVN is to look at again. Written by whoever changed it, in the same transaction.
CREATE TABLE network_dirty (
  id VARCHAR(36) NOT NULL PRIMARY KEY,
  kind VARCHAR(32) NOT NULL,
  thing VARCHAR(64) NOT NULL
);
-- Which controllers have the bytes of an upload (or receive them now, as long as no image is active with it).
CREATE TABLE image_copies (
  upload_id VARCHAR(36) NOT NULL,
  controller_id VARCHAR(36) NOT NULL,
  PRIMARY KEY (upload_id, controller_id)
);
CREATE INDEX image_copies_controller ON image_copies (controller_id);
-- The controller that a host's agent is connected to and that hears it; '' if there is none.
ALTER TABLE hosts ADD COLUMN controller_id VARCHAR(36) NOT NULL DEFAULT '';
CREATE INDEX hosts_controller ON hosts (controller_id);
-- What a token makes of a machine: a host or a controller.
ALTER TABLE enrolment_tokens ADD COLUMN kind VARCHAR(16) NOT NULL DEFAULT 'host';
-- The oldest schema whose program this database still serves. A migration that only adds leaves it as it is; one that takes away
-- what older programs use raises it (docs/architecture.md, "Upgrades").
CREATE TABLE schema_compatibility (
  id INTEGER NOT NULL PRIMARY KEY,
  oldest BIGINT NOT NULL
);
INSERT INTO schema_compatibility (id, oldest) VALUES (1, 0);
