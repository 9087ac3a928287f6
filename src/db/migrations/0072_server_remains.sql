-- What servers have left behind on hosts that they are no longer on: each is to be removed there, when the host comes back.
CREATE TABLE server_remains (
  server_id VARCHAR(36) NOT NULL,
  host_id VARCHAR(36) NOT NULL,
  name VARCHAR(255) NOT NULL,
  instance_name VARCHAR(64) NOT NULL,
  generation BIGINT NOT NULL,
  fence BIGINT NOT NULL,
  created_at DATETIME(6) NOT NULL,
  PRIMARY KEY (server_id, host_id)
);
CREATE INDEX server_remains_host ON server_remains (host_id);
