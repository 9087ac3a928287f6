"""What must be true once everything is mended, each seen from the API and database, from the hosts, and from OVN.

Each function returns what is wrong, a line each. They are asked again and again until nothing is, or time is up.
"""
from operations import IMAGE_BYTES, MAYBE, NO, PATHS, YES


def differing(what, left_name, left, right_name, right):
    """Two collections that should have the same members."""
    left, right = sorted(left), sorted(right)
    if left == right:
        return []
    return [f"{what}: only {left_name}: {[x for x in left if x not in right]}, only {right_name}: {[x for x in right if x not in left]}"
            + ("" if set(left) != set(right) else f" (some twice: {left} {right})")]


def operations_ended(cloud):
    found = []
    for o in cloud.rows("SELECT * FROM operations WHERE state NOT IN ('succeeded', 'failed')"):
        found.append(f"operation {o['kind']} of {o['resource_type']} {o['resource_id']} is {o['state']} at step {o['step']} on {o['host']}: {o['message']}")
    for o in cloud.rows("SELECT * FROM operations WHERE state = 'failed' AND message = ''"):
        found.append(f"operation {o['kind']} of {o['resource_type']} {o['resource_id']} failed without a cause")
    return found


def migrations_ended(cloud):
    found = []
    for m in cloud.rows("SELECT * FROM server_migrations WHERE status NOT IN ('confirmed', 'reverted', 'error', 'done', 'completed', 'cancelled')"):
        found.append(f"{m['kind']} {m['uuid']} of server {m['server_id']} from {m['source_host']} to {m['dest_host']} is {m['status']}")
    return found


def servers_settled(cloud):
    found = []
    for s in cloud.servers():
        if s["OS-EXT-STS:task_state"] or s["status"] not in ("ACTIVE", "SHUTOFF", "ERROR"):
            found.append(f"server {s['id']} is {s['status']}, task {s['OS-EXT-STS:task_state']}")
        if s["status"] == "ERROR" and not s.get("fault", {}).get("message"):
            found.append(f"server {s['id']} is in ERROR without a cause")
    return found


def hosts_agree(cloud):
    """allocations = servers = domains = QEMU processes = disks = taps, on the host that the database says and nowhere else."""
    found = []
    servers = cloud.rows("SELECT id, host_id, node, vm_state, power_state FROM servers WHERE deleted = 0")
    ports = cloud.rows("SELECT id, device_id FROM network_ports WHERE device_owner LIKE 'compute:%'")
    for host in cloud.computes:
        here = [s for s in servers if s["node"] == host]
        sure = {s["id"] for s in here if s["vm_state"] in ("active", "stopped")}
        unsure = {s["id"] for s in here} - sure  # in ERROR: it may have come to a domain, or not
        running = {s["id"] for s in here if s["vm_state"] == "active"}
        domains = cloud.domains(host)
        found += differing(f"servers and domains of {host}", "in the database", sure, "in libvirt", set(domains) - unsure)
        found += differing(f"running on {host}", "in the database", running, "in libvirt", {d for d, s in domains.items() if s == "running"} - unsure)
        found += differing(f"QEMUs of {host}", "libvirt's", [d for d, s in domains.items() if s == "running"], "processes", cloud.qemus(host))
        found += differing(f"disks of {host}", "servers", sure, "folders", set(cloud.disks(host)) - unsure)
        taps = {"tap" + p["id"][:11] for p in ports if p["device_id"] in running}
        allowed = {"tap" + p["id"][:11] for p in ports if p["device_id"] in unsure}
        found += differing(f"taps of {host}", "ports of running servers", taps, "on br-int", set(cloud.taps(host)) - allowed)
    return found


def allocations_agree(cloud):
    found = []
    servers = cloud.rows("SELECT id, node, memory_mb, vcpus FROM servers WHERE deleted = 0 AND host_id <> ''")
    allocations = cloud.rows("SELECT a.consumer_uuid AS id, p.name AS node, a.resource_class AS class, a.amount FROM allocations a JOIN resource_providers p ON p.uuid = a.provider_uuid")
    for resource, column in (("VCPU", "vcpus"), ("MEMORY_MB", "memory_mb")):
        found += differing(f"allocations of {resource}", "servers", [(s["id"], s["node"], s[column]) for s in servers],
                           "allocations", [(a["id"], a["node"], a["amount"]) for a in allocations if a["class"] == resource])
    for row in cloud.rows("SELECT p.name, i.resource_class, i.used, (SELECT COALESCE(SUM(a.amount), 0) FROM allocations a WHERE a.provider_uuid = i.provider_uuid AND "
                          "a.resource_class = i.resource_class) AS sum FROM inventories i JOIN resource_providers p ON p.uuid = i.provider_uuid"):
        if row["used"] != row["sum"]:
            found.append(f"{row['resource_class']} of {row['name']}: {row['used']} said to be used, {row['sum']} allocated")
    for table, condition in (("servers", "tombstone = 1"), ("server_remains", "1 = 1")):
        for row in cloud.rows(f"SELECT * FROM {table} WHERE {condition}"):
            found.append(f"{table}: {row.get('server_id', row.get('id'))} of host {row['host_id']} has not been removed yet")
    return found


def quotas_agree(cloud):
    found = []
    for resource, amount in (("instances", "1"), ("cores", "vcpus"), ("ram", "memory_mb")):
        real = {r["project_id"]: r["sum"] for r in cloud.rows(f"SELECT project_id, SUM({amount}) AS sum FROM servers WHERE deleted = 0 GROUP BY project_id")}
        for row in cloud.rows("SELECT project_id, used FROM compute_usages WHERE resource = ?", resource):
            if row["used"] != real.get(row["project_id"], 0):
                found.append(f"quota of {resource} in {row['project_id']}: {row['used']} used, {real.get(row['project_id'], 0)} there")
    for resource, table in (("network", "network_networks"), ("subnet", "network_subnets"), ("floatingip", "network_floating_ips"),
                            ("security_group", "network_security_groups"), ("router", "network_routers"), ("port", "network_ports")):
        real = {r["project_id"]: r["n"] for r in cloud.rows(f"SELECT project_id, COUNT(*) AS n FROM {table} GROUP BY project_id")}
        for row in cloud.rows("SELECT project_id, used FROM network_quota_usages WHERE resource = ? AND project_id <> ''", resource):
            if row["used"] != real.get(row["project_id"], 0):
                found.append(f"quota of {resource} in {row['project_id']}: {row['used']} used, {real.get(row['project_id'], 0)} there")
    return found


def northbound_agrees(cloud):
    found = []

    def same(what, sql, names):
        return differing(what, "in the database", [r["id"] for r in cloud.rows(sql)], "in OVN", names)

    found += same("networks", "SELECT id FROM network_networks", [r["name"].removeprefix("neutron-") for r in cloud.northbound("Logical_Switch", "name")])
    found += same("routers", "SELECT id FROM network_routers", [r["name"].removeprefix("neutron-") for r in cloud.northbound("Logical_Router", "name")])
    switch_ports = cloud.northbound("Logical_Switch_Port", "name", "up", "options")
    found += same("ports", "SELECT id FROM network_ports WHERE device_owner <> 'network:floatingip'", [p["name"] for p in switch_ports if not p["name"].startswith("provnet-")])
    found += same("security groups", "SELECT id FROM network_security_groups",
                  [r["name"].removeprefix("pg_").replace("_", "-") for r in cloud.northbound("Port_Group", "name") if r["name"] != "pg_drop"])
    found += same("floating IPs", "SELECT floating_ip_address || ' ' || fixed_ip_address AS id FROM network_floating_ips WHERE port_id IS NOT NULL",
                  [f"{r['external_ip']} {r['logical_ip']}" for r in cloud.northbound("NAT", "type", "external_ip", "logical_ip") if r["type"] == "dnat_and_snat"])
    rules = cloud.rows("SELECT COUNT(*) AS n FROM network_security_group_rules")[0]["n"]
    acls = len(cloud.northbound("ACL", "_uuid"))
    if acls != rules + 2:  # and what drops the rest, each way
        found.append(f"{rules} rules of security groups and {acls} ACLs")
    # Who OVN says is there, and on which host it may be.
    up = {p["name"]: p["up"] is True for p in switch_ports}
    allowed = {p["name"]: dict(p["options"][1]).get("requested-chassis") for p in switch_ports}
    for p in cloud.rows("SELECT p.id, p.status, p.host_id, s.node, s.vm_state FROM network_ports p JOIN servers s ON s.id = p.device_id WHERE s.deleted = 0"):
        if p["vm_state"] == "active" and (p["status"] != "ACTIVE" or not up.get(p["id"])):
            found.append(f"port {p['id']} of a running server is {p['status']}, in OVN {'up' if up.get(p['id']) else 'not up'}")
        if p["vm_state"] != "error" and allowed.get(p["id"]) != p["node"]:
            found.append(f"port {p['id']} may be on {allowed.get(p['id'])} in OVN, its server is on {p['node']}")
        if p["vm_state"] != "error" and p["host_id"] != p["node"]:
            found.append(f"port {p['id']} is bound to {p['host_id']}, its server is on {p['node']}")
    return found


def images_agree(cloud):
    uploads = [r["upload_id"] for r in cloud.rows("SELECT upload_id FROM image_images WHERE status = 'active'")]
    return [line for c in cloud.controllers
            for line in differing("images with bytes", "in the database", uploads, f"files of {c}", [name.split(".")[0] for name in cloud.image_files(c)])]


EVERYWHERE = [operations_ended, migrations_ended, servers_settled, hosts_agree, allocations_agree, quotas_agree, northbound_agrees, images_agree]


def promises_kept(cloud, resources, guests_died):
    """Nothing that was acknowledged is lost, and nothing is there that was refused or deleted."""
    found, shown = [], {}
    for kind, (path, plural) in PATHS.items():
        listed = cloud.get(path + ("/detail" if kind == "server" else ""))[plural]
        shown[kind] = {x["id"]: x for x in listed}
    for r in resources:
        key = "description" if r.kind == "floatingip" else "name"
        names = {n.rstrip("?") for n in r.names}
        there = shown[r.kind].get(r.id) if r.id else next((x for x in shown[r.kind].values() if x[key] in names), None)
        what = f"{r.kind} of operation {r.number} ({r.id})"
        if there is None:
            if r.made == YES and r.gone == NO:
                found.append(f"{what} was acknowledged and is lost")
            continue
        if r.made == NO:
            found.append(f"{what} was refused and is there")
        if r.gone == YES:
            found.append(f"{what} was deleted and is there")
        if there[key] not in names:
            found.append(f"{what} is called {there[key]}, not {names}")
        if r.kind == "image" and r.whole != MAYBE and (there["status"] == "active") != (r.whole == YES):
            found.append(f"{what} is {there['status']}; its bytes were acknowledged: {r.whole}")
        if r.kind == "image" and there["status"] == "active" and there["size"] != IMAGE_BYTES:
            found.append(f"{what} has {there['size']} bytes")
        if r.gone == NO:
            found += lost_parts(cloud, what, r)
        if r.kind == "server":
            found += wrong_power(cloud, what, r, there, guests_died)
    return found + lost_operations(cloud, resources)


def wrong_power(cloud, what, resource, there, guests_died):
    """A stop that succeeded stays; so does a start, unless the guest died with its host or its QEMU was killed."""
    wanted, request = resource.power or ("", "")
    succeeded = wanted and cloud.rows("SELECT 1 FROM operations WHERE request_id = ? AND resource_id = ? AND state = 'succeeded'", request, resource.id)
    if not succeeded or there["status"] == wanted or (wanted == "ACTIVE" and guests_died):
        return []
    return [f"{what} is {there['status']}, and request {request} for {wanted} succeeded"]


def lost_parts(cloud, what, resource):
    found = []
    for path in {path for path, _ in resource.parts}:
        plural = path.rsplit("/", 1)[1].replace("-", "_")
        there = {x["id"] for x in cloud.get(path)[plural]}
        found += [f"{part} of {what} was acknowledged and is lost" for p, part in resource.parts if p == path and part not in there]
    return found


def lost_operations(cloud, resources):
    known = {row["request_id"] for row in cloud.rows("SELECT request_id FROM operations")}
    return [f"request {request} about {r.kind} {r.id} was acknowledged and has no operation" for r in resources for request in r.requests if request not in known]
