-- What lists and boots look up, in the order in which they need it.
CREATE INDEX servers_listed ON servers (project_id, deleted, created_at, id);
CREATE INDEX network_ports_owner ON network_ports (network_id, device_owner);
CREATE INDEX network_addresses_of_port ON network_addresses (port_id, position, subnet_id, address);
CREATE INDEX network_floating_ips_port ON network_floating_ips (port_id);
