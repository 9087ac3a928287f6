"""Flavors, keys, servers and their life, quotas, hosts."""
import base64

from harness import equal, subset


def flavors(b):
    with b.check("flavor create, list, show, set, unset, delete"):
        b.do("admin", "flavor create", "--ram", "96", "--disk", "1", "--vcpus", "1", "--property", "hw:cpu_policy=shared", "t.small")
        subset(["m1.nano", "m1.tiny", "m1.small", "m1.medium", "m1.large", "m1.xlarge", "t.small"], [r["Name"] for r in b.get("demo", "flavor list")])
        equal(b.get("demo", "flavor show", "t.small")["ram"], 96)
        b.do("admin", "flavor set", "--property", "lab:colour=blue", "t.small")
        assert "blue" in str(b.get("admin", "flavor show", "t.small")["properties"])
        b.do("admin", "flavor unset", "--property", "lab:colour", "t.small")
        b.do("admin", "flavor delete", "t.small")
    with b.check("a private flavor is seen by the projects it is given to"):
        b.do("admin", "flavor create", "--private", "--ram", "64", "--disk", "1", "--vcpus", "1", "secret")
        assert "secret" not in [r["Name"] for r in b.get("demo", "flavor list")]
        b.do("admin", "flavor set", "--project", "demo", "secret")
        subset(["secret"], [r["Name"] for r in b.get("demo", "flavor list")])
        b.do("admin", "flavor unset", "--project", "demo", "secret")
        b.do("admin", "flavor delete", "secret")
    with b.check("keypair create (made and imported), list, show, delete"):
        private = b.do("demo", "keypair create", "made")
        assert "PRIVATE KEY" in private, private
        public = b.do("demo", "keypair show", "--public-key", "made").strip()
        open(b.folder + "/key.pub", "w").write(public + "\n")
        imported = b.get("demo", "keypair create", "--public-key", b.folder + "/key.pub", "imported")
        equal(imported["fingerprint"], b.get("demo", "keypair show", "made")["fingerprint"])
        subset(["made", "imported"], [r["Name"] for r in b.get("demo", "keypair list")])
        b.do("demo", "keypair delete", "made")


def status(b, name):
    return b.get("demo", "server show", name)["status"]


def servers(b):
    with b.check("server create --wait: ACTIVE, with its address, key, group and metadata"):
        open(b.folder + "/user-data", "w").write("#cloud-config\n")
        b.do("demo", "server create", "--flavor", "m1.nano", "--image", "tiny", "--network", "private", "--key-name", "imported", "--security-group", "default",
             "--user-data", b.folder + "/user-data", "--property", "role=web", "--config-drive", "True", "--wait", "s1")
        shown = b.get("demo", "server show", "s1")
        equal((shown["status"], shown["key_name"], shown["properties"], shown["config_drive"]), ("ACTIVE", "imported", {"role": "web"}, "True"))
        assert shown["addresses"]["private"][0].startswith("10.0.0."), shown
        assert shown["image"].startswith("tiny") and shown["flavor"].startswith("m1.nano"), shown
    with b.check("server list: by name, status, long, all projects, no name lookup"):
        subset(["s1", "demo"], [r["Name"] for r in b.get("demo", "server list", "--status", "ACTIVE")])
        equal([r["Name"] for r in b.get("demo", "server list", "--name", "^s1$", "--long")], ["s1"])
        equal([r["Name"] for r in b.get("admin", "server list", "--all-projects", "--name", "^s1$", "-n")], ["s1"])
        equal(b.get("admin", "server list"), [])
    with b.check("server stop, start, reboot soft and hard"):
        for command, wanted in (("server stop", "SHUTOFF"), ("server start", "ACTIVE"), ("server reboot", "ACTIVE"), ("server reboot --hard", "ACTIVE")):
            b.do("demo", command, "s1")
            b.wait(f"{command}: {wanted}", lambda: status(b, "s1") == wanted)
    with b.check("server pause, unpause; a server alone on its host cannot migrate"):
        server_id = b.get("demo", "server show s1")["id"]
        b.do("demo", "server pause s1")
        b.wait("it is PAUSED", lambda: b.get("demo", "server show s1")["status"] == "PAUSED")
        subset(["409"], b.refused("demo", "server stop", "s1"))
        subset(["409"], b.refused("demo", "server pause", "s1"))
        b.do("demo", "server unpause s1")
        b.wait("it is ACTIVE", lambda: b.get("demo", "server show s1")["status"] == "ACTIVE")
        subset(["400", "No valid host was found"], b.refused("admin", "--os-compute-api-version 2.56 server migrate --live-migration", server_id))
    with b.check("server resize, resize confirm, resize revert; migration list"):
        b.do("admin", "flavor create --ram 192 --disk 2 --vcpus 1 m1.larger")
        b.do("demo", "server resize --flavor m1.larger --wait s1")
        shown = b.get("demo", "server show", "s1")
        equal((shown["status"], shown["flavor"].split()[0]), ("VERIFY_RESIZE", "m1.larger"))
        subset(["409"], b.refused("demo", "server stop", "s1"))
        b.do("demo", "server resize revert s1")
        b.wait("it is as it was", lambda: status(b, "s1") == "ACTIVE")
        equal(b.get("demo", "server show", "s1")["flavor"].split()[0], "m1.nano")
        b.do("demo", "server resize --flavor m1.larger --wait s1")
        b.do("demo", "server resize confirm s1")
        b.wait("it is confirmed", lambda: status(b, "s1") == "ACTIVE")
        equal([m["Status"] for m in b.get("admin", "server migration list --type resize")], ["confirmed", "reverted"])
        subset(["400", "A disk never shrinks"], b.refused("demo", "server resize --flavor m1.nano s1"))
        subset(["No valid host was found"], b.refused("admin", "server migrate", b.get("demo", "server show", "s1")["id"]))
    with b.check("what is not built says so: 501 with the action's name"):
        said = b.refused("demo", "server suspend", "s1")
        subset(["501", "suspend", "not implemented"], said)
    with b.check("server set, unset, lock, unlock"):
        b.do("demo", "server set", "--name", "s1b", "--property", "tier=front", "s1")
        equal(b.get("demo", "server show", "s1b")["properties"], {"role": "web", "tier": "front"})
        b.do("demo", "server unset", "--property", "tier", "s1b")
        b.do("demo", "server set", "--name", "s1", "s1b")
        b.do("demo", "server lock", "s1")
        b.do("admin", "server unlock", b.get("demo", "server show", "s1")["id"])
    with b.check("console log show, console url show"):
        b.do("demo", "console log show", "--lines", "3", "s1")  # the fake writes nothing
        url = b.get("demo", "console url show", "s1")
        assert url["type"] == "novnc" and "token" in url["url"], url
        assert "ws" in b.get("demo", "console url show", "--serial", "s1")["url"]
    with b.check("server event list, server event show"):
        events = b.get("demo", "server event list", "s1")
        subset(["create", "stop", "start", "reboot", "resize", "revertResize", "confirmResize"], [e["Action"] for e in events])
        create = [e for e in events if e["Action"] == "create"][0]
        shown = b.get("demo", "server event show", "s1", create["Request ID"])
        equal(shown["action"], "create")
    with b.check("server add and remove floating ip, fixed address shown"):
        address = b.get("demo", "floating ip create", "public")["floating_ip_address"]
        b.do("demo", "server add floating ip", "s1", address)
        subset([address], b.get("demo", "server show", "s1")["addresses"]["private"])
        b.do("demo", "server remove floating ip", "s1", address)
        b.do("demo", "floating ip delete", address)
    with b.check("server add and remove security group"):
        b.do("demo", "security group create", "extra")
        b.do("demo", "server add security group", "s1", "extra")
        subset(["extra"], [g["name"] for g in b.get("demo", "server show", "s1")["security_groups"]])
        b.do("demo", "server remove security group", "s1", "extra")
        assert "extra" not in [g["name"] for g in b.get("demo", "server show", "s1")["security_groups"]]
        b.do("demo", "security group delete", "extra")
    with b.check("a server on a port of the user's; the port outlives the server"):
        b.do("demo", "port create", "--network", "private", "mine")
        b.do("demo", "server create", "--flavor", "m1.nano", "--image", "tiny", "--port", "mine", "--wait", "s2")
        equal(b.get("demo", "port show", "mine")["device_owner"].split(":")[0], "compute")
        subset(["409", "in use by server", "Delete the server first"], b.refused("demo", "port delete", "mine"))
        b.do("demo", "server delete", "--wait", "s2")
        equal(b.get("demo", "port show", "mine")["device_id"], "")
        b.do("demo", "port delete", "mine")
    with b.check("server group create, list, show, delete"):
        b.do("demo", "server group create", "--policy", "anti-affinity", "apart")
        subset(["apart"], [r["Name"] for r in b.get("demo", "server group list")])
        equal(b.get("demo", "server group show", "apart")["policy"], "anti-affinity")
        b.do("demo", "server group delete", "apart")
    with b.check("servers by --min and --max"):
        b.do("demo", "server create", "--flavor", "m1.nano", "--image", "tiny", "--network", "private", "--min", "2", "--max", "2", "many")
        b.wait("two servers", lambda: [r["Status"] for r in b.get("demo", "server list", "--name", "many")] == ["ACTIVE"] * 2)
        b.do("demo", "server delete", "--wait", *[r["ID"] for r in b.get("demo", "server list", "--name", "many")])
    with b.check("paging through servers"):
        first = b.rest("GET", "/compute/v2.1/servers?limit=1").json
        following = [link["href"] for link in first["servers_links"] if link["rel"] == "next"][0]
        second = b.rest("GET", following).json
        assert first["servers"][0]["id"] != second["servers"][0]["id"]
    with b.check("server delete --wait leaves nothing of it"):
        id_ = b.get("demo", "server show", "s1")["id"]
        b.do("demo", "server delete", "--wait", "s1")
        b.refused("demo", "server show", "s1")
        equal(b.get("admin", "port list", "--device-id", id_), [])
        equal(b.rest("GET", "/placement/allocations/" + id_, user="admin").json["allocations"], {})


def latest(b):
    """The same at compute's highest microversion, as scripts that set OS_COMPUTE_API_VERSION do."""
    with b.with_options("--os-compute-api-version", "2.90"):
        with b.check("at 2.90: server create with tag, description and hostname; list, show, set, delete"):
            b.do("demo", "server create", "--flavor", "m1.nano", "--image", "tiny", "--network", "private", "--tag", "a", "--description", "words", "--hostname", "other", "--wait", "n1")
            shown = b.get("demo", "server show", "n1")
            equal((shown["tags"], shown["description"], shown["status"]), (["a"], "words", "ACTIVE"))
            b.do("demo", "server set", "--tag", "b", "--description", "more", "n1")
            equal(sorted(b.get("demo", "server show", "n1")["tags"]), ["a", "b"])
            equal([r["Name"] for r in b.get("demo", "server list", "--tags", "b")], ["n1"])
            b.do("demo", "server lock", "--reason", "busy", "n1")
            equal(b.get("demo", "server show", "n1")["locked_reason"], "busy")
            b.do("demo", "server unlock", "n1")
            b.get("demo", "server list", "--long")
            b.get("admin", "server list", "--all-projects", "--long")
            events = b.get("demo", "server event list", "--long", "n1")
            subset(["create"], [e["Action"] for e in events])
            b.do("demo", "console url show", "n1")
            b.do("demo", "server delete", "--wait", "n1")
        with b.check("at 2.90: keypair, server group, flavor, hypervisor, compute service, quota, usage, limits"):
            b.do("demo", "keypair create", "--type", "ssh", "k2")
            equal(b.get("demo", "keypair show", "k2")["type"], "ssh")
            subset(["k2"], [r["Name"] for r in b.get("demo", "keypair list")])
            b.do("demo", "keypair delete", "k2")
            b.do("demo", "server group create", "--policy", "affinity", "together")
            equal(b.get("demo", "server group show", "together")["policy"], "affinity")
            b.do("demo", "server group delete", "together")
            b.do("admin", "flavor create", "--ram", "64", "--vcpus", "1", "--disk", "1", "--description", "described", "d1")
            equal(b.get("admin", "flavor show", "d1")["description"], "described")
            b.do("admin", "flavor delete", "d1")
            name = b.get("admin", "hypervisor list")[0]["Hypervisor Hostname"]
            b.get("admin", "hypervisor show", name)
            b.get("admin", "compute service list")
            b.get("demo", "quota show")
            equal(len(b.get("admin", "usage list")), 1)
            page = b.rest("GET", "/compute/v2.1/os-simple-tenant-usage?limit=1&detailed=1", user="admin", OpenStack_API_Version="compute 2.40").json
            first = page["tenant_usages"][0]["server_usages"][0]["instance_id"]
            page = b.rest("GET", page["tenant_usages_links"][0]["href"], user="admin", OpenStack_API_Version="compute 2.40").json
            assert page["tenant_usages"][0]["server_usages"][0]["instance_id"] > first
            b.get("demo", "limits show", "--absolute")
            b.get("demo", "availability zone list")


def sdk(b):
    with b.check("openstacksdk (as Ansible and Heat use it): image, network, server, floating IP, all removed again"):
        import openstack
        conn = openstack.connect(cloud="virga")
        net = conn.create_network("sdk-net")
        subnet = conn.create_subnet(net.id, cidr="192.0.2.0/24", subnet_name="sdk-sub")
        router = conn.create_router("sdk-router", ext_gateway_net_id=conn.get_network("public").id)
        conn.add_router_interface(router, subnet_id=subnet.id)
        server = conn.create_server("sdk-vm", image="tiny", flavor="m1.nano", network="sdk-net", auto_ip=True, wait=True, timeout=60)
        equal((server.status, server.public_v4.startswith("172.24.4.")), ("ACTIVE", True))
        equal(conn.get_server("sdk-vm").id, server.id)
        assert conn.delete_server(server.id, wait=True, delete_ips=True)  # by name the SDK finds no addresses
        equal(len(conn.list_floating_ips()), 1)  # demo's
        assert conn.remove_router_interface(router, subnet_id=subnet.id) is None
        assert conn.delete_router(router.id) and conn.delete_subnet(subnet.id) and conn.delete_network(net.id)


def cloud(b):
    with b.check("quota show, quota list, quota set"):
        rows = b.get("demo", "quota show")
        equal([r["Limit"] for r in rows if r["Resource"] == "instances"] if isinstance(rows, list) else [rows["instances"]], [10])
        b.do("admin", "quota set", "--instances", "12", "--networks", "33", "demo")
        rows = b.get("admin", "quota show", "demo")
        got = {r["Resource"]: r["Limit"] for r in rows} if isinstance(rows, list) else rows
        equal((got["instances"], got["networks"]), (12, 33))
        b.do("admin", "quota list", "--compute")
        b.do("admin", "quota list", "--network")
    with b.check("limits show --absolute"):
        rows = {r["Name"]: r["Value"] for r in b.get("demo", "limits show", "--absolute")}
        equal((rows["maxTotalInstances"], rows["totalInstancesUsed"]), (12, 1))
    with b.check("hypervisor list, show, stats show; compute service list, set"):
        hosts = b.get("admin", "hypervisor list")
        equal(len(hosts), 1)
        name = hosts[0]["Hypervisor Hostname"]
        equal(b.get("admin", "hypervisor show", name)["state"], "up")
        equal(b.get("admin", "hypervisor stats show")["count"], 1)
        subset([name], [r["Host Name"] for r in b.get("admin", "host list")])
        rows = b.get("admin", "compute service list", "--service", "nova-compute")
        equal([(r["Host"], r["Status"], r["State"]) for r in rows], [(name, "enabled", "up")])
        b.do("admin", "compute service set", "--disable", "--disable-reason", "test", name, "nova-compute")
        equal(b.get("admin", "compute service list", "--service", "nova-compute", "--long")[0]["Disabled Reason"], "test")
        b.do("demo", "server create", "--flavor", "m1.nano", "--image", "tiny", "--network", "private", "nowhere")
        b.wait("ERROR", lambda: status(b, "nowhere") == "ERROR")
        assert "No valid host" in b.get("demo", "server show", "nowhere")["fault"]["message"]
        b.do("admin", "compute service set", "--enable", name, "nova-compute")
        b.do("demo", "server delete", "--wait", "nowhere")
    with b.check("availability zone list, extension list, usage list, usage show"):
        equal([r["Zone Name"] for r in b.get("demo", "availability zone list", "--compute")], ["nova"])
        assert len(b.get("demo", "extension list", "--compute")) > 10
        subset([b.get("demo", "project show", "demo")["id"]], [r["Project"] for r in b.get("admin", "usage list")])
        assert b.get("admin", "usage show", "--project", "demo")["Servers"]
    with b.check("server metadata and user data over REST; user data is never shown to others"):
        made = b.rest("POST", "/compute/v2.1/servers", {"server": {"name": "ud", "flavorRef": b.get("demo", "flavor show", "m1.nano")["id"],
                      "imageRef": b.get("demo", "image show", "tiny")["id"], "networks": [{"uuid": b.get("demo", "network show", "private")["id"]}], "user_data": base64.b64encode(b"#!/bin/sh\n").decode()}},
                      OpenStack_API_Version="compute 2.37")
        equal(made.status, 202)
        id_ = made.json["server"]["id"]
        assert "OS-EXT-SRV-ATTR:user_data" not in b.rest("GET", "/compute/v2.1/servers/" + id_, OpenStack_API_Version="compute 2.93").json["server"]
        equal(b.rest("DELETE", "/compute/v2.1/servers/" + id_).status, 204)


def aggregates(b):
    host = b.get("admin", "hypervisor list")[0]["Hypervisor Hostname"]

    def hosts_zone():
        return b.get("admin", "compute service list", "--service", "nova-compute")[0]["Zone"]

    with b.check("aggregate create, set, unset, show, list: name, zone and properties"):
        made = b.get("admin", "aggregate create", "--zone", "lab", "--property", "disk=hdd", "racks")
        equal((made["name"], made["availability_zone"], made["hosts"]), ("racks", "lab", []))
        b.do("admin", "aggregate set", "--name", "rack", "--property", "disk=ssd", "--property", "old=1", "racks")
        b.do("admin", "aggregate unset", "--property", "old", "rack")
        equal(b.get("admin", "aggregate show", "rack")["properties"], {"disk": "ssd"})
        listed = b.get("admin", "aggregate list", "--long")[0]
        equal((listed["Name"], listed["Availability Zone"], listed["Properties"]), ("rack", "lab", {"disk": "ssd"}))
        assert "409" in b.refused("admin", "aggregate create", "rack")
        assert "403" in b.refused("demo", "aggregate list")
    with b.check("aggregate add host: the host's zone is the aggregate's, everywhere"):
        equal(hosts_zone(), "nova")
        equal(b.get("admin", "aggregate add host", "rack", host)["hosts"], [host])
        equal(hosts_zone(), "lab")
        equal([r["Zone Name"] for r in b.get("demo", "availability zone list", "--compute")], ["lab"])
        subset([("lab", host, "nova-compute")], [(r["Zone Name"], r["Host Name"], r["Service Name"]) for r in b.get("admin", "availability zone list", "--compute", "--long")])
        equal([r["Zone"] for r in b.get("admin", "host list") if r["Service"] == "compute"], ["lab"])
        subset(["rack"], str(b.get("admin", "hypervisor show", host)["aggregates"]))
        other = b.get("admin", "aggregate create", "--zone", "attic", "other")
        subset(["409", "already in availability zone", "lab"], b.refused("admin", "aggregate add host", "other", host))
        subset(["400", "id must be an integer"], str((reply := b.rest("GET", "/compute/v2.1/os-aggregates/x", user="admin")).status) + reply.raw.decode())
        b.do("admin", "aggregate delete", str(other["id"]))
    with b.check("server create --availability-zone: in the zone, or 400; a zone with servers cannot be changed"):
        b.do("demo", "server create", "--flavor", "m1.nano", "--image", "tiny", "--network", "private", "--availability-zone", "lab", "--wait", "in-lab")
        equal(b.get("demo", "server show", "in-lab")["OS-EXT-AZ:availability_zone"], "lab")
        subset(["400", "availability zone is not available"], b.refused("demo", "server create", "--flavor", "m1.nano", "--image", "tiny", "--network", "private", "--availability-zone", "mars", "on-mars"))
        subset(["400", "contain instances in this zone"], b.refused("admin", "aggregate set", "--zone", "cellar", "rack"))
    with b.check("a flavor asks for an aggregate's property and for a trait; without a host that has it, the server says so"):
        provider = b.rest("GET", "/placement/resource_providers?name=" + host, user="admin").json["resource_providers"][0]
        for name, properties in (("t.ssd", ["aggregate_instance_extra_specs:disk=ssd"]), ("t.nvme", ["aggregate_instance_extra_specs:disk=nvme"]),
                                 ("t.gpu", ["trait:CUSTOM_LAB_GPU=required"])):
            b.do("admin", "flavor create", "--ram", "64", "--disk", "1", "--vcpus", "1", *(x for p in properties for x in ("--property", p)), name)
        def boot(flavor, wanted):
            b.do("demo", "server create", "--flavor", flavor, "--image", "tiny", "--network", "private", "picky")
            b.wait(wanted, lambda: status(b, "picky") == wanted)
            fault = b.get("demo", "server show", "picky").get("fault", {}).get("message", "")
            b.do("demo", "server delete", "--wait", "picky")
            return fault
        boot("t.ssd", "ACTIVE")
        subset([host, "none of its aggregates has disk = nvme"], boot("t.nvme", "ERROR"))
        subset([host, "does not have the trait CUSTOM_LAB_GPU"], boot("t.gpu", "ERROR"))
        placement = {"user": "admin", "OpenStack_API_Version": "placement 1.39"}
        equal(b.rest("PUT", "/placement/traits/CUSTOM_LAB_GPU", **placement).status, 201)
        url = "/placement/resource_providers/" + provider["uuid"] + "/traits"
        before = b.rest("GET", url, **placement).json
        before["traits"].append("CUSTOM_LAB_GPU")
        equal(b.rest("PUT", url, before, **placement).status, 200)
        boot("t.gpu", "ACTIVE")
        now = b.rest("GET", url, **placement).json
        now["traits"].remove("CUSTOM_LAB_GPU")
        equal(b.rest("PUT", url, now, **placement).status, 200)
        equal(b.rest("DELETE", "/placement/traits/CUSTOM_LAB_GPU", **placement).status, 204)
        for name in ("t.ssd", "t.nvme", "t.gpu"):
            b.do("admin", "flavor delete", name)
    with b.check("aggregate cache image; remove host, delete: the host is in the default zone again"):
        with b.with_options("--os-compute-api-version", "2.81"):
            b.do("admin", "aggregate cache image", "rack", "tiny")
            subset(["nowhere"], b.refused("admin", "aggregate cache image", "rack", "nowhere"))
        subset(["400", "not empty"], b.refused("admin", "aggregate delete", "rack"))
        b.do("demo", "server delete", "--wait", "in-lab")
        equal(b.get("admin", "aggregate remove host", "rack", host)["hosts"], [])
        equal(hosts_zone(), "nova")
        b.do("admin", "aggregate delete", "rack")
        equal(b.get("admin", "aggregate list"), [])


def walk(b):
    flavors(b)
    servers(b)
    latest(b)
    sdk(b)
    cloud(b)
    aggregates(b)
