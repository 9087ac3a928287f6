"""Microversions, faults in each service's own form, a stopped service."""
from harness import equal, subset

UNKNOWN = "11111111-2222-3333-4444-555555555555"


def microversions(b):
    with b.check("compute answers in the version asked for, and says so"):
        reply = b.rest("GET", "/compute/v2.1/servers", OpenStack_API_Version="compute 2.60")
        equal(reply.headers["OpenStack-API-Version"], "compute 2.60")
        equal(reply.headers["X-OpenStack-Nova-API-Version"], "2.60")
        subset(["OpenStack-API-Version", "X-OpenStack-Nova-API-Version"], ", ".join(reply.headers.get_all("Vary")))
        equal(b.rest("GET", "/compute/v2.1/servers", X_OpenStack_Nova_API_Version="2.3").headers["OpenStack-API-Version"], "compute 2.3")
    with b.check("without a header it is the lowest version, `latest` the highest"):
        equal(b.rest("GET", "/compute/v2.1/servers").headers["OpenStack-API-Version"], "compute 2.1")
        equal(b.rest("GET", "/compute/v2.1/servers", OpenStack_API_Version="compute latest").headers["OpenStack-API-Version"], "compute 2.93")
        equal(b.rest("GET", "/placement/resource_providers", user="admin").headers["OpenStack-API-Version"], "placement 1.0")
    with b.check("a version out of range is 406 with the range, a malformed one 400"):
        for service, path, version in (("compute", "/compute/v2.1/servers", "2.999"), ("placement", "/placement/resource_providers", "1.999")):
            reply = b.rest("GET", path, user="admin", OpenStack_API_Version=f"{service} {version}")
            equal(reply.status, 406)
            assert version in reply.raw.decode(), reply.raw
            equal(b.rest("GET", path, user="admin", OpenStack_API_Version=f"{service} banana").status, 400)
    with b.check("what a version removed is gone: 404"):
        equal(b.rest("GET", "/compute/v2.1/images").status in (200, 404), True)
        equal(b.rest("GET", "/compute/v2.1/images", OpenStack_API_Version="compute 2.36").status, 404)


def forms(b):
    with b.check("keystone's faults: 401, 404, 409, 400, 403"):
        equal(b.rest("GET", "/identity/v3/users", user=None).json["error"]["code"], 401)
        reply = b.rest("GET", "/identity/v3/users/" + UNKNOWN, user="admin")
        equal((reply.status, reply.json["error"]["title"]), (404, "Not Found"))
        reply = b.rest("POST", "/identity/v3/projects", {"project": {"name": "demo"}}, user="admin")
        equal((reply.status, reply.json["error"]["title"]), (409, "Conflict"))
        equal(b.rest("POST", "/identity/v3/projects", {"project": {}}, user="admin").status, 400)
        reply = b.rest("GET", "/identity/v3/users", user="demo")
        equal((reply.status, reply.json["error"]["title"]), (403, "Forbidden"))
        assert "identity:list_users" in reply.json["error"]["message"]
    with b.check("nova's faults: 404, 409, 400, 403, 405"):
        reply = b.rest("GET", "/compute/v2.1/servers/" + UNKNOWN)
        equal((reply.status, reply.json["itemNotFound"]["code"]), (404, 404))
        assert "Instance " + UNKNOWN in reply.json["itemNotFound"]["message"]
        reply = b.rest("POST", "/compute/v2.1/flavors", {"flavor": {"name": "m1.tiny", "ram": 64, "vcpus": 1, "disk": 1}}, user="admin")
        equal((reply.status, reply.json["conflictingRequest"]["code"]), (409, 409))
        reply = b.rest("POST", "/compute/v2.1/servers", {"server": {"name": 5}})
        equal((reply.status, reply.json["badRequest"]["code"]), (400, 400))
        assert "name" in reply.json["badRequest"]["message"], reply.raw
        reply = b.rest("GET", "/compute/v2.1/os-hypervisors", user="demo")
        equal((reply.status, reply.json["forbidden"]["code"]), (403, 403))
        assert "os_compute_api:os-hypervisors:list" in reply.json["forbidden"]["message"]
        equal(b.rest("DELETE", "/compute/v2.1/servers").status, 405)
    with b.check("neutron's faults: 404, 409, 400, 403"):
        reply = b.rest("GET", "/network/v2.0/networks/" + UNKNOWN)
        equal((reply.status, reply.json["NeutronError"]["type"]), (404, "NetworkNotFound"))
        net = b.rest("GET", "/network/v2.0/networks?name=private").json["networks"][0]
        reply = b.rest("DELETE", "/network/v2.0/networks/" + net["id"])
        equal((reply.status, reply.json["NeutronError"]["type"]), (409, "NetworkInUse"))
        reply = b.rest("POST", "/network/v2.0/subnets", {"subnet": {"network_id": net["id"], "ip_version": 4, "cidr": "no"}})
        equal((reply.status, reply.json["NeutronError"]["type"]), (400, "HTTPBadRequest"))
        reply = b.rest("POST", "/network/v2.0/networks", {"network": {"name": "x", "router:external": True}})
        equal((reply.status, reply.json["NeutronError"]["type"]), (403, "PolicyNotAuthorized"))
    with b.check("glance's faults: 404, 409, 400, 403"):
        equal(b.rest("GET", "/image/v2/images/" + UNKNOWN).status, 404)
        assert UNKNOWN in b.rest("GET", "/image/v2/images/" + UNKNOWN).raw.decode()
        tiny = b.rest("GET", "/image/v2/images?name=tiny").json["images"][0]
        equal(b.rest("POST", "/image/v2/images", {"id": tiny["id"], "name": "twin"}).status, 409)
        equal(b.rest("POST", "/image/v2/images", {"disk_format": "floppy"}).status, 400)
        equal(b.rest("DELETE", "/image/v2/images/" + tiny["id"]).status, 403)
        equal(b.rest("POST", "/image/v2/images", {"visibility": "public"}).status, 403)
    with b.check("placement's faults: 404, 409, 400, 403"):
        reply = b.rest("GET", "/placement/resource_providers/" + UNKNOWN, user="admin")
        equal((reply.status, reply.json["errors"][0]["title"]), (404, "Not Found"))
        host = b.rest("GET", "/placement/resource_providers", user="admin").json["resource_providers"][0]
        equal(b.rest("POST", "/placement/resource_providers", {"name": host["name"]}, user="admin").status, 409)
        equal(b.rest("POST", "/placement/resource_providers", {"nothing": 1}, user="admin").status, 400)
        equal(b.rest("GET", "/placement/resource_providers", user="demo").json["errors"][0]["status"], 403)
    with b.check("every answer has a request id; quota exceeded is 403 with the numbers"):
        assert b.rest("GET", "/network/v2.0/networks").headers["X-Openstack-Request-Id"].startswith("req-")
        b.do("admin", "quota set", "--instances", "1", "demo")
        said = b.refused("demo", "server create", "--flavor", "m1.nano", "--image", "tiny", "--network", "private", "toomany")
        assert "Quota exceeded for instances" in said and "403" in said, said
        b.do("admin", "quota set", "--instances", "12", "demo")
    with b.check("another project's server is not found"):
        b.do("admin", "project create", "other")
        b.do("admin", "user create", "--password", "pw", "eve")
        b.do("admin", "role add", "--user", "eve", "--project", "other", "member")
        b.state["eve"] = {"user": "eve", "password": "pw", "project": "other"}
        demo = b.rest("GET", "/compute/v2.1/servers?name=demo").json["servers"][0]["id"]
        equal(b.rest("GET", "/compute/v2.1/servers/" + demo, user="eve").status, 404)
        equal(b.rest("DELETE", "/compute/v2.1/servers/" + demo, user="eve").status, 404)
        net = b.rest("GET", "/network/v2.0/networks?name=private").json["networks"][0]["id"]
        equal(b.rest("GET", "/network/v2.0/networks/" + net, user="eve").status, 404)
        b.do("admin", "user delete", "eve")
        b.do("admin", "project delete", "other")


def stopped(b):
    for service, path, body in (("nova", "/compute/v2.1/servers", "serviceUnavailable"), ("neutron", "/network/v2.0/networks", "NeutronError")):
        with b.check(f"virga service stop {service}: its API is 503 with Retry-After, the others answer; start: it is back"):
            b.virga("service", "stop", service)
            try:
                reply = b.rest("GET", path)
                equal(reply.status, 503)
                assert int(reply.headers["Retry-After"]) > 0
                subset([body], reply.json)
                equal(b.rest("GET", "/identity/v3/auth/projects").status, 200)
            finally:
                b.virga("service", "start", service)
            equal(b.rest("GET", path).status, 200)


def walk(b):
    microversions(b)
    forms(b)
    stopped(b)
