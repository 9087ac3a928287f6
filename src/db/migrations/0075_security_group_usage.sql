-- Usage of security groups and their rules as neutron counts it: default groups and the rules that a group begins with
-- were left out, and rules that went with their group were never given back.
DELETE FROM network_quota_usages WHERE resource IN ('security_group', 'security_group_rule');
REPLACE INTO network_quota_usages (project_id, resource, used)
  SELECT project_id, 'security_group', COUNT(*) FROM network_security_groups WHERE project_id <> '' GROUP BY project_id;
REPLACE INTO network_quota_usages (project_id, resource, used)
  SELECT project_id, 'security_group_rule', COUNT(*) FROM network_security_group_rules WHERE project_id <> '' GROUP BY project_id;
