-- Users and groups of domains that live in an LDAP directory: which entry each row of identity_users or identity_groups
-- stands for. An entry that is no longer found keeps its row (present = 0), so that what the directory shows again has
-- its roles again.
CREATE TABLE identity_directory_entries (
  public_id VARCHAR(64) NOT NULL PRIMARY KEY,
  domain_id VARCHAR(64) NOT NULL,
  kind VARCHAR(8) NOT NULL,
  local_id VARCHAR(255) NOT NULL,
  dn TEXT NOT NULL,
  present INTEGER NOT NULL,
  FOREIGN KEY (domain_id) REFERENCES identity_projects (id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX identity_directory_entries_local ON identity_directory_entries (domain_id, kind, local_id);
