CREATE TABLE operations (
  id VARCHAR(36) NOT NULL PRIMARY KEY,
  kind VARCHAR(64) NOT NULL,
  resource_type VARCHAR(32) NOT NULL,
  resource_id VARCHAR(64) NOT NULL,
  project_id VARCHAR(64) NOT NULL,
  user_id VARCHAR(64) NOT NULL,
  request_id VARCHAR(64) NOT NULL,
  state VARCHAR(16) NOT NULL,
  step VARCHAR(64) NOT NULL,
  step_count BIGINT NOT NULL,
  message TEXT NOT NULL,
  hint TEXT NOT NULL,
  host VARCHAR(255) NOT NULL,
  attempt BIGINT NOT NULL,
  fence BIGINT NOT NULL,
  detail TEXT NOT NULL,
  started_at DATETIME(6) NOT NULL,
  updated_at DATETIME(6) NOT NULL,
  leased_until DATETIME(6),
  finished_at DATETIME(6)
);
CREATE UNIQUE INDEX operations_fence ON operations (resource_type, resource_id, fence);
CREATE INDEX operations_state ON operations (state, leased_until);
CREATE INDEX operations_request ON operations (request_id);
CREATE TABLE operation_steps (
  operation_id VARCHAR(36) NOT NULL,
  sequence BIGINT NOT NULL,
  step VARCHAR(64) NOT NULL,
  ok BIGINT NOT NULL,
  message TEXT NOT NULL,
  host VARCHAR(255) NOT NULL,
  at DATETIME(6) NOT NULL,
  took_us BIGINT NOT NULL,
  PRIMARY KEY (operation_id, sequence)
);
