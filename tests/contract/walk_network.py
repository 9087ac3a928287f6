"""Networks, subnets, ports, routers, floating IPs, security groups."""
from harness import equal, subset


def networks(b):
    with b.check("network create, list, show, set"):
        made = b.get("demo", "network create", "--description", "of the test", "net1")
        equal((made["status"], made["admin_state_up"]), ("ACTIVE", True))
        subset(["net1", "private", "public"], [r["Name"] for r in b.get("demo", "network list")])
        equal([r["Name"] for r in b.get("demo", "network list", "--external")], ["public"])
        b.do("demo", "network set", "--description", "changed", "--disable", "net1")
        shown = b.get("demo", "network show", "net1")
        equal((shown["description"], shown["admin_state_up"]), ("changed", False))
        b.do("demo", "network set", "--enable", "net1")
        equal(b.get("admin", "network show", "net1")["provider:network_type"], "geneve")
    with b.check("subnet create, list, show, set"):
        made = b.get("demo", "subnet create", "--network", "net1", "--subnet-range", "192.0.2.0/24", "--dns-nameserver", "192.0.2.53",
                     "--allocation-pool", "start=192.0.2.10,end=192.0.2.99", "--host-route", "destination=198.51.100.0/24,gateway=192.0.2.9", "sub1")
        equal((made["gateway_ip"], made["allocation_pools"], made["enable_dhcp"]), ("192.0.2.1", [{"start": "192.0.2.10", "end": "192.0.2.99"}], True))
        subset(["sub1"], [r["Name"] for r in b.get("demo", "subnet list", "--network", "net1")])
        b.do("demo", "subnet set", "--name", "sub1b", "--dns-nameserver", "192.0.2.54", "sub1")
        equal(sorted(b.get("demo", "subnet show", "sub1b")["dns_nameservers"]), ["192.0.2.53", "192.0.2.54"])
        b.do("demo", "subnet unset", "--dns-nameserver", "192.0.2.54", "sub1b")
    with b.check("an IPv6 subnet"):
        made = b.get("demo", "subnet create", "--network", "net1", "--ip-version", "6", "--ipv6-ra-mode", "slaac", "--ipv6-address-mode", "slaac", "--subnet-range", "2001:db8::/64", "sub6")
        equal((made["ip_version"], made["ipv6_address_mode"]), (6, "slaac"))
        b.do("demo", "subnet delete", "sub6")
    with b.check("subnet pool create, list, show, delete"):
        b.do("demo", "subnet pool create", "--pool-prefix", "198.18.0.0/16", "--default-prefix-length", "24", "pool1")
        subset(["pool1"], [r["Name"] for r in b.get("demo", "subnet pool list")])
        made = b.get("demo", "subnet create", "--network", "net1", "--subnet-pool", "pool1", "frompool")
        assert made["cidr"].startswith("198.18."), made
        b.do("demo", "subnet delete", "frompool")
        b.do("demo", "subnet pool delete", "pool1")
    with b.check("port create with a fixed address, list, show, set, unset"):
        made = b.get("demo", "port create", "--network", "net1", "--fixed-ip", "subnet=sub1b,ip-address=192.0.2.20", "--mac-address", "fa:16:3e:00:00:99", "port1")
        equal((made["fixed_ips"][0]["ip_address"], made["mac_address"], made["status"]), ("192.0.2.20", "fa:16:3e:00:00:99", "DOWN"))
        subset(["port1"], [r["Name"] for r in b.get("demo", "port list", "--network", "net1")])
        b.do("demo", "port set", "--allowed-address", "ip-address=192.0.2.77", "--description", "changed", "port1")
        equal(b.get("demo", "port show", "port1")["allowed_address_pairs"][0]["ip_address"], "192.0.2.77")
        b.do("demo", "port unset", "--allowed-address", "ip-address=192.0.2.77,mac-address=fa:16:3e:00:00:99", "port1")
        equal(b.get("demo", "port show", "port1")["allowed_address_pairs"], [])
        assert "192.0.2.20" in b.refused("demo", "port create", "--network", "net1", "--fixed-ip", "ip-address=192.0.2.20", "twin")


def routers(b):
    with b.check("router create, add subnet, gateway, list, show"):
        b.do("demo", "router create", "r1")
        b.do("demo", "router add subnet", "r1", "sub1b")
        b.do("demo", "router set", "--external-gateway", "public", "r1")
        shown = b.get("demo", "router show", "r1")
        assert shown["external_gateway_info"]["network_id"], shown
        equal([i["ip_address"] for i in shown["interfaces_info"]], ["192.0.2.1"])
        subset(["r1", "router1"], [r["Name"] for r in b.get("demo", "router list")])
        equal([r["Name"] for r in b.get("demo", "router list", "--name", "r1", "--long")], ["r1"])
    with b.check("a subnet or network in use is not deleted"):
        subset(["One or more ports have an IP allocation from this subnet"], b.refused("demo", "subnet delete", "sub1b"))
        subset(["in use"], b.refused("demo", "network delete", "net1"))
        assert b.refused("demo", "router delete", "r1")
    with b.check("router add and remove port, add and remove route"):
        b.do("demo", "network create", "net2")
        b.do("demo", "subnet create", "--network", "net2", "--subnet-range", "203.0.113.0/24", "sub2")
        b.do("demo", "port create", "--network", "net2", "--fixed-ip", "subnet=sub2,ip-address=203.0.113.1", "gateway2")
        b.do("demo", "router add port", "r1", "gateway2")
        equal(b.get("demo", "port show", "gateway2")["device_owner"], "network:router_interface")
        b.do("demo", "router set", "--route", "destination=10.9.0.0/16,gateway=203.0.113.7", "r1")
        equal(b.get("demo", "router show", "r1")["routes"], [{"destination": "10.9.0.0/16", "nexthop": "203.0.113.7"}])
        b.do("demo", "router unset", "--route", "destination=10.9.0.0/16,gateway=203.0.113.7", "r1")
        b.do("demo", "router remove port", "r1", "gateway2")
        b.do("demo", "network delete", "net2")
    with b.check("floating ip create, set, list, show, unset, delete"):
        made = b.get("demo", "floating ip create", "--description", "of the test", "public")
        address = made["floating_ip_address"]
        assert address.startswith("172.24.4."), made
        b.do("demo", "floating ip set", "--port", "port1", address)
        shown = b.get("demo", "floating ip show", address)
        equal((shown["fixed_ip_address"], "port1" in str(shown["port_details"])), ("192.0.2.20", True))
        subset([address], [r["Floating IP Address"] for r in b.get("demo", "floating ip list")])
        assert b.refused("demo", "router unset", "--external-gateway", "r1")
        b.do("demo", "floating ip unset", "--port", address)
        b.do("demo", "floating ip delete", address)
    with b.check("router unset gateway, remove subnet, delete; port, subnet, network delete"):
        b.do("demo", "router unset", "--external-gateway", "r1")
        b.do("demo", "router remove subnet", "r1", "sub1b")
        b.do("demo", "router delete", "r1")
        b.do("demo", "port delete", "port1")
        b.do("demo", "subnet delete", "sub1b")
        b.do("demo", "network delete", "net1")
        assert "No Network found" in b.refused("demo", "network show", "net1")


def groups(b):
    with b.check("security group create, rules, list, show, delete"):
        made = b.get("demo", "security group create", "--description", "web", "web")
        equal(len(made["rules"] if isinstance(made["rules"], list) else made["rules"].splitlines()), 2)
        rule = b.get("demo", "security group rule create", "--protocol", "tcp", "--dst-port", "80:443", "--remote-ip", "198.51.100.0/24", "web")
        equal((rule["protocol"], rule["port_range_min"], rule["port_range_max"]), ("tcp", 80, 443))
        b.do("demo", "security group rule create", "--protocol", "icmp", "web")
        b.do("demo", "security group rule create", "--egress", "--ethertype", "IPv6", "--remote-group", "web", "web")
        equal(len(b.get("demo", "security group rule list", "web")), 5)
        equal(b.get("demo", "security group rule show", rule["id"])["remote_ip_prefix"], "198.51.100.0/24")
        assert "already exists" in b.refused("demo", "security group rule create", "--protocol", "icmp", "web")
        b.do("demo", "security group rule delete", rule["id"])
        b.do("demo", "security group set", "--name", "web2", "web")
        subset(["default", "web2"], [r["Name"] for r in b.get("demo", "security group list")])
        b.do("demo", "security group delete", "web2")
    with b.check("a security group in use is not deleted"):
        b.do("demo", "security group create", "busy")
        b.do("demo", "port create", "--network", "private", "--security-group", "busy", "busy1")
        assert "in use" in b.refused("demo", "security group delete", "busy")
        b.do("demo", "port delete", "busy1")
        b.do("demo", "security group delete", "busy")


def informed(b):
    with b.check("extension list --network, network availability zones, quotas"):
        subset(["router", "security-group", "quotas", "external-net"], [r["Alias"] for r in b.get("demo", "extension list", "--network")])
        equal(b.get("demo", "extension show", "router")["alias"], "router")
        assert isinstance(b.get("demo", "availability zone list", "--network"), list)
    with b.check("paging, sorting, fields and tags of neutron"):
        for i in range(3):
            b.do("demo", "network create", "--tag", "paged", f"page{i}")
        first = b.rest("GET", "/network/v2.0/networks?limit=2&sort_key=name&sort_dir=asc&fields=name&fields=id&name=page0&name=page1&name=page2").json
        equal([sorted(n) for n in first["networks"]], [["id", "name"]] * 2)
        following = [link["href"] for link in first["networks_links"] if link["rel"] == "next"][0]
        equal([n["name"] for n in b.rest("GET", following).json["networks"]], ["page2"])
        equal(len(b.get("demo", "network list", "--tags", "paged")), 3)
        b.do("demo", "network delete", "page0", "page1", "page2")
    with b.check("port list of a network's project, network show by the admin of a foreign network"):
        assert b.get("admin", "network show", "private")["project_id"]


def walk(b):
    networks(b)
    routers(b)
    groups(b)
    informed(b)
