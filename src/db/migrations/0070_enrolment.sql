-- Machines that may be hosts of this cloud: the CA that signs them (its key sealed with the master key, which is not
-- here), one-time tokens, and which certificates are good for which host.
CREATE TABLE enrolment_ca (
  name VARCHAR(32) NOT NULL PRIMARY KEY,
  certificate TEXT NOT NULL,
  sealed_key TEXT NOT NULL,
  created_at DATETIME(6) NOT NULL
);
CREATE TABLE enrolment_tokens (
  digest VARCHAR(64) NOT NULL PRIMARY KEY,
  id VARCHAR(36) NOT NULL,
  hostname VARCHAR(255) NOT NULL,
  created_by VARCHAR(64) NOT NULL,
  created_at DATETIME(6) NOT NULL,
  expires_at DATETIME(6) NOT NULL,
  used_at DATETIME(6),
  used_by VARCHAR(36) NOT NULL,
  used_key VARCHAR(64) NOT NULL
);
CREATE UNIQUE INDEX enrolment_tokens_id ON enrolment_tokens (id);
CREATE TABLE enrolled_hosts (
  host_id VARCHAR(36) NOT NULL PRIMARY KEY,
  hostname VARCHAR(255) NOT NULL,
  address VARCHAR(64) NOT NULL,
  fingerprint VARCHAR(64) NOT NULL,
  next_fingerprint VARCHAR(64) NOT NULL,
  certificate_until DATETIME(6) NOT NULL,
  enrolled_at DATETIME(6) NOT NULL,
  updated_at DATETIME(6) NOT NULL
);
CREATE UNIQUE INDEX enrolled_hosts_hostname ON enrolled_hosts (hostname);
