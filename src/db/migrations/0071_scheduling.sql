-- What the scheduler looks for: the emptiest providers first, and hosts by their zone and aggregates.
ALTER TABLE inventories ADD COLUMN free BIGINT GENERATED ALWAYS AS (capacity - used) VIRTUAL;
CREATE INDEX inventories_free ON inventories (resource_class, free, provider_uuid);
CREATE INDEX hosts_zone ON hosts (zone);
CREATE INDEX aggregate_hosts_host ON aggregate_hosts (host_id);
CREATE INDEX provider_traits_trait ON provider_traits (trait);
