-- Servers that move while they run: what the destination said of the server last, what is wished of the migration meanwhile ("",
-- "abort", "force"), how far it has come (bytes). Which version of the agents' link each host speaks. Ports that are bound to a
-- second host until their server runs there.
ALTER TABLE server_migrations ADD COLUMN dest_power BIGINT NOT NULL DEFAULT 0;
ALTER TABLE server_migrations ADD COLUMN wish VARCHAR(16) NOT NULL DEFAULT '';
ALTER TABLE server_migrations ADD COLUMN memory_total BIGINT NOT NULL DEFAULT 0;
ALTER TABLE server_migrations ADD COLUMN memory_processed BIGINT NOT NULL DEFAULT 0;
ALTER TABLE server_migrations ADD COLUMN memory_remaining BIGINT NOT NULL DEFAULT 0;
ALTER TABLE server_migrations ADD COLUMN disk_total BIGINT NOT NULL DEFAULT 0;
ALTER TABLE server_migrations ADD COLUMN disk_processed BIGINT NOT NULL DEFAULT 0;
ALTER TABLE server_migrations ADD COLUMN disk_remaining BIGINT NOT NULL DEFAULT 0;
CREATE INDEX server_migrations_dest ON server_migrations (dest_host_id, status);
ALTER TABLE hosts ADD COLUMN link_minor BIGINT NOT NULL DEFAULT 0;
ALTER TABLE network_ports ADD COLUMN also_host_id VARCHAR(255) NOT NULL DEFAULT '';
