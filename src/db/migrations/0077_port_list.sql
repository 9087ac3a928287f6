-- A page of all ports, in the order in which they were made: without this each page sorted all of them.
CREATE INDEX network_ports_listed ON network_ports (created_at, id);
