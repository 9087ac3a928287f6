CREATE TABLE network_networks (
  id VARCHAR(36) NOT NULL PRIMARY KEY,
  project_id VARCHAR(64) NOT NULL,
  name VARCHAR(255) NOT NULL,
  description VARCHAR(255) NOT NULL,
  admin_state_up SMALLINT NOT NULL,
  status VARCHAR(16) NOT NULL,
  shared SMALLINT NOT NULL,
  external SMALLINT NOT NULL,
  is_default SMALLINT NOT NULL,
  mtu BIGINT NOT NULL,
  port_security_enabled SMALLINT NOT NULL,
  dns_domain VARCHAR(255) NOT NULL,
  network_type VARCHAR(32) NOT NULL,
  physical_network VARCHAR(64),
  segmentation_id BIGINT,
  revision_number BIGINT NOT NULL,
  created_at DATETIME(6) NOT NULL,
  updated_at DATETIME(6) NOT NULL
);
CREATE INDEX network_networks_project ON network_networks (project_id);
CREATE UNIQUE INDEX network_networks_segment ON network_networks (network_type, physical_network, segmentation_id);
CREATE TABLE network_segment_counters (
  name VARCHAR(32) NOT NULL PRIMARY KEY,
  next_value BIGINT NOT NULL
);
INSERT INTO network_segment_counters (name, next_value) VALUES ('geneve', 1);
CREATE TABLE network_subnet_pools (
  id VARCHAR(36) NOT NULL PRIMARY KEY,
  project_id VARCHAR(64) NOT NULL,
  name VARCHAR(255) NOT NULL,
  description VARCHAR(255) NOT NULL,
  prefixes MEDIUMTEXT NOT NULL,
  default_prefixlen BIGINT NOT NULL,
  min_prefixlen BIGINT NOT NULL,
  max_prefixlen BIGINT NOT NULL,
  ip_version BIGINT NOT NULL,
  default_quota BIGINT,
  shared SMALLINT NOT NULL,
  is_default SMALLINT NOT NULL,
  address_scope_id VARCHAR(36),
  revision_number BIGINT NOT NULL,
  created_at DATETIME(6) NOT NULL,
  updated_at DATETIME(6) NOT NULL
);
CREATE TABLE network_subnets (
  id VARCHAR(36) NOT NULL PRIMARY KEY,
  project_id VARCHAR(64) NOT NULL,
  network_id VARCHAR(36) NOT NULL,
  name VARCHAR(255) NOT NULL,
  description VARCHAR(255) NOT NULL,
  ip_version BIGINT NOT NULL,
  cidr VARCHAR(64) NOT NULL,
  gateway_ip VARCHAR(64),
  enable_dhcp SMALLINT NOT NULL,
  ipv6_address_mode VARCHAR(32),
  ipv6_ra_mode VARCHAR(32),
  subnetpool_id VARCHAR(36),
  allocation_pools MEDIUMTEXT NOT NULL,
  dns_nameservers MEDIUMTEXT NOT NULL,
  host_routes MEDIUMTEXT NOT NULL,
  service_types MEDIUMTEXT NOT NULL,
  dns_publish_fixed_ip SMALLINT NOT NULL,
  next_address VARCHAR(64),
  revision_number BIGINT NOT NULL,
  created_at DATETIME(6) NOT NULL,
  updated_at DATETIME(6) NOT NULL,
  FOREIGN KEY (network_id) REFERENCES network_networks (id)
);
CREATE INDEX network_subnets_network ON network_subnets (network_id);
CREATE TABLE network_ports (
  id VARCHAR(36) NOT NULL PRIMARY KEY,
  project_id VARCHAR(64) NOT NULL,
  network_id VARCHAR(36) NOT NULL,
  name VARCHAR(255) NOT NULL,
  description VARCHAR(255) NOT NULL,
  mac_address VARCHAR(32) NOT NULL,
  admin_state_up SMALLINT NOT NULL,
  status VARCHAR(16) NOT NULL,
  device_id VARCHAR(255) NOT NULL,
  device_owner VARCHAR(255) NOT NULL,
  host_id VARCHAR(255) NOT NULL,
  vnic_type VARCHAR(64) NOT NULL,
  profile MEDIUMTEXT NOT NULL,
  port_security_enabled SMALLINT NOT NULL,
  allowed_address_pairs MEDIUMTEXT NOT NULL,
  extra_dhcp_opts MEDIUMTEXT NOT NULL,
  dns_name VARCHAR(255) NOT NULL,
  made_by_compute SMALLINT NOT NULL,
  revision_number BIGINT NOT NULL,
  created_at DATETIME(6) NOT NULL,
  updated_at DATETIME(6) NOT NULL,
  FOREIGN KEY (network_id) REFERENCES network_networks (id)
);
CREATE UNIQUE INDEX network_ports_mac ON network_ports (network_id, mac_address);
CREATE INDEX network_ports_device ON network_ports (device_id);
CREATE INDEX network_ports_project ON network_ports (project_id);
CREATE TABLE network_addresses (
  subnet_id VARCHAR(36) NOT NULL,
  address VARCHAR(64) NOT NULL,
  port_id VARCHAR(36) NOT NULL,
  position BIGINT NOT NULL,
  PRIMARY KEY (subnet_id, address),
  FOREIGN KEY (port_id) REFERENCES network_ports (id) ON DELETE CASCADE,
  FOREIGN KEY (subnet_id) REFERENCES network_subnets (id)
);
CREATE INDEX network_addresses_port ON network_addresses (port_id);
CREATE TABLE network_security_groups (
  id VARCHAR(36) NOT NULL PRIMARY KEY,
  project_id VARCHAR(64) NOT NULL,
  name VARCHAR(255) NOT NULL,
  description VARCHAR(255) NOT NULL,
  stateful SMALLINT NOT NULL,
  default_of VARCHAR(64),
  revision_number BIGINT NOT NULL,
  created_at DATETIME(6) NOT NULL,
  updated_at DATETIME(6) NOT NULL
);
CREATE UNIQUE INDEX network_security_groups_default ON network_security_groups (default_of);
CREATE INDEX network_security_groups_project ON network_security_groups (project_id);
CREATE TABLE network_security_group_rules (
  id VARCHAR(36) NOT NULL PRIMARY KEY,
  project_id VARCHAR(64) NOT NULL,
  security_group_id VARCHAR(36) NOT NULL,
  direction VARCHAR(10) NOT NULL,
  ethertype VARCHAR(10) NOT NULL,
  protocol VARCHAR(40),
  port_range_min BIGINT,
  port_range_max BIGINT,
  remote_ip_prefix VARCHAR(64),
  remote_group_id VARCHAR(36),
  description VARCHAR(255) NOT NULL,
  fingerprint VARCHAR(255) NOT NULL,
  revision_number BIGINT NOT NULL,
  created_at DATETIME(6) NOT NULL,
  updated_at DATETIME(6) NOT NULL,
  FOREIGN KEY (security_group_id) REFERENCES network_security_groups (id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX network_security_group_rules_same ON network_security_group_rules (security_group_id, fingerprint);
CREATE TABLE network_port_groups (
  port_id VARCHAR(36) NOT NULL,
  security_group_id VARCHAR(36) NOT NULL,
  PRIMARY KEY (port_id, security_group_id),
  FOREIGN KEY (port_id) REFERENCES network_ports (id) ON DELETE CASCADE,
  FOREIGN KEY (security_group_id) REFERENCES network_security_groups (id)
);
CREATE INDEX network_port_groups_group ON network_port_groups (security_group_id);
CREATE TABLE network_routers (
  id VARCHAR(36) NOT NULL PRIMARY KEY,
  project_id VARCHAR(64) NOT NULL,
  name VARCHAR(255) NOT NULL,
  description VARCHAR(255) NOT NULL,
  admin_state_up SMALLINT NOT NULL,
  status VARCHAR(16) NOT NULL,
  gateway_network_id VARCHAR(36),
  gateway_port_id VARCHAR(36),
  enable_snat SMALLINT NOT NULL,
  routes MEDIUMTEXT NOT NULL,
  revision_number BIGINT NOT NULL,
  created_at DATETIME(6) NOT NULL,
  updated_at DATETIME(6) NOT NULL
);
CREATE INDEX network_routers_project ON network_routers (project_id);
CREATE TABLE network_floating_ips (
  id VARCHAR(36) NOT NULL PRIMARY KEY,
  project_id VARCHAR(64) NOT NULL,
  description VARCHAR(255) NOT NULL,
  floating_network_id VARCHAR(36) NOT NULL,
  floating_ip_address VARCHAR(64) NOT NULL,
  floating_port_id VARCHAR(36) NOT NULL,
  port_id VARCHAR(36),
  fixed_ip_address VARCHAR(64),
  router_id VARCHAR(36),
  status VARCHAR(16) NOT NULL,
  dns_name VARCHAR(255) NOT NULL,
  dns_domain VARCHAR(255) NOT NULL,
  revision_number BIGINT NOT NULL,
  created_at DATETIME(6) NOT NULL,
  updated_at DATETIME(6) NOT NULL
);
CREATE UNIQUE INDEX network_floating_ips_address ON network_floating_ips (floating_network_id, floating_ip_address);
CREATE UNIQUE INDEX network_floating_ips_fixed ON network_floating_ips (port_id, fixed_ip_address);
CREATE INDEX network_floating_ips_router ON network_floating_ips (router_id);
CREATE INDEX network_floating_ips_project ON network_floating_ips (project_id);
CREATE TABLE network_tags (
  resource_id VARCHAR(36) NOT NULL,
  tag VARCHAR(255) NOT NULL,
  PRIMARY KEY (resource_id, tag)
);
CREATE TABLE network_quotas (
  project_id VARCHAR(64) NOT NULL,
  resource VARCHAR(64) NOT NULL,
  hard_limit BIGINT NOT NULL,
  PRIMARY KEY (project_id, resource)
);
CREATE TABLE network_quota_usages (
  project_id VARCHAR(64) NOT NULL,
  resource VARCHAR(64) NOT NULL,
  used BIGINT NOT NULL,
  PRIMARY KEY (project_id, resource)
);
