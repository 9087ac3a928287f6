-- Servers that change their size or their host. `move` says where in that a server is: leaving (it stops on its old host),
-- arriving (its disk is copied and it starts), resized (it waits for confirmation), returning (it goes back). Root disks
-- have numbers, so that the one before a change stays until the change is confirmed.
ALTER TABLE servers ADD COLUMN move VARCHAR(16) NOT NULL DEFAULT '';
ALTER TABLE servers ADD COLUMN placed_generation BIGINT NOT NULL DEFAULT 0;
ALTER TABLE servers ADD COLUMN disk_number BIGINT NOT NULL DEFAULT 0;
ALTER TABLE servers ADD COLUMN old_disk BIGINT NOT NULL DEFAULT -1;
ALTER TABLE flavors ADD COLUMN number BIGINT NOT NULL DEFAULT 0;
INSERT INTO compute_counters (name, value) VALUES ('flavor', 0);
INSERT INTO compute_counters (name, value) VALUES ('migration', 0);
CREATE TABLE server_migrations (
  id BIGINT NOT NULL PRIMARY KEY,
  uuid VARCHAR(36) NOT NULL,
  server_id VARCHAR(36) NOT NULL,
  kind VARCHAR(16) NOT NULL,
  status VARCHAR(16) NOT NULL,
  operation_id VARCHAR(36) NOT NULL,
  source_host_id VARCHAR(36) NOT NULL,
  source_host VARCHAR(255) NOT NULL,
  dest_host_id VARCHAR(36) NOT NULL,
  dest_host VARCHAR(255) NOT NULL,
  source_disk BIGINT NOT NULL,
  dest_disk BIGINT NOT NULL,
  source_generation BIGINT NOT NULL,
  old_flavor TEXT NOT NULL,
  new_flavor TEXT NOT NULL,
  old_flavor_number BIGINT NOT NULL,
  new_flavor_number BIGINT NOT NULL,
  cause TEXT NOT NULL,
  project_id VARCHAR(255) NOT NULL,
  user_id VARCHAR(255) NOT NULL,
  created_at DATETIME(6) NOT NULL,
  updated_at DATETIME(6) NOT NULL
);
CREATE UNIQUE INDEX server_migrations_uuid ON server_migrations (uuid);
CREATE INDEX server_migrations_server ON server_migrations (server_id, status);
CREATE INDEX server_migrations_source ON server_migrations (source_host_id, status);
CREATE INDEX server_migrations_status ON server_migrations (status);
CREATE INDEX server_migrations_updated ON server_migrations (updated_at);
