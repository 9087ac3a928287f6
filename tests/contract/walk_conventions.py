"""What all services share: ids, HEAD, CORS, gzip, limits of bodies, If-Match, and what operators get to see of it."""
import gzip
import json
import os
import signal
import urllib.request

from harness import equal, subset

GLOBAL = "req-3c35f2b1-6b4e-4f8a-9d4e-0123456789ab"
ORIGIN = "https://dashboard.example.org"  # as tests/contract/run configures it


def answers(b):
    with b.check("every service names the request; nova twice"):
        for path in ("/identity/v3", "/image/v2/images", "/network/v2.0/networks", "/placement/resource_providers", "/compute/v2.1/servers", "/none"):
            assert b.rest("GET", path).headers["X-Openstack-Request-Id"].startswith("req-"), path
        reply = b.rest("GET", "/compute/v2.1/servers", X_Openstack_Request_Id=GLOBAL)
        equal(reply.headers["X-Compute-Request-Id"], reply.headers["X-Openstack-Request-Id"])
        assert reply.headers["X-Openstack-Request-Id"] != GLOBAL
    with b.check("keystone's answers vary with the token, faults too"):
        for path in ("/identity/v3", "/identity/v3/auth/catalog", "/identity/v3/users/none"):
            subset(["X-Auth-Token"], b.rest("GET", path).headers["Vary"])
    with b.check("HEAD answers like GET, without a body"):
        for path in ("/identity/v3/auth/catalog", "/image/v2/images", "/network/v2.0/networks", "/compute/v2.1/flavors"):
            head, get = b.rest("HEAD", path), b.rest("GET", path)
            equal((head.status, head.raw), (200, b""))
            for name in ("Content-Type", "Content-Length", "Vary"):
                equal(head.headers[name], get.headers[name])
    with b.check("gzip for who takes it, and never where tokens are"):
        plain, packed = b.rest("GET", "/network/v2.0/extensions"), b.rest("GET", "/network/v2.0/extensions", Accept_Encoding="gzip")
        equal(packed.headers["Content-Encoding"], "gzip")
        equal(gzip.decompress(packed.raw), plain.raw)
        assert len(packed.raw) * 3 < len(plain.raw)
        equal(b.rest("GET", "/identity/v3/auth/catalog", Accept_Encoding="gzip").headers["Content-Encoding"], None)
    with b.check("CORS: a known origin may, another gets no field"):
        ask = dict(Access_Control_Request_Method="POST", Access_Control_Request_Headers="x-auth-token, content-type")
        reply = b.rest("OPTIONS", "/compute/v2.1/servers", user=None, Origin=ORIGIN, **ask)
        equal((reply.status, reply.headers["Access-Control-Allow-Origin"], reply.headers["Access-Control-Allow-Methods"]), (200, ORIGIN, "POST"))
        equal(b.rest("OPTIONS", "/compute/v2.1/servers", user=None, Origin="https://evil.example.org", **ask).headers["Access-Control-Allow-Origin"], None)
        subset(["X-Subject-Token"], b.rest("GET", "/identity/v3", Origin=ORIGIN).headers["Access-Control-Expose-Headers"])
    with b.check("bodies: too large 413, encoded 415, in the service's form"):
        reply = b.rest("POST", "/network/v2.0/networks", b" " * (1100 << 10), Content_Type="application/json")
        equal((reply.status, reply.json["NeutronError"]["type"]), (413, "HTTP413"))
        reply = b.rest("POST", "/compute/v2.1/servers", gzip.compress(b"{}"), Content_Type="application/json", Content_Encoding="gzip")
        equal((reply.status, reply.json["badMediaType"]["code"]), (415, 415))
    with b.check("neutron's If-Match: only at that revision"):
        net = b.rest("POST", "/network/v2.0/networks", {"network": {"name": "matched"}}).json["network"]
        path, body = "/network/v2.0/networks/" + net["id"], {"network": {"name": "again"}}
        reply = b.rest("PUT", path, body, If_Match="revision_number=77")
        equal((reply.status, reply.json["NeutronError"]["type"]), (412, "RevisionNumberConstraintFailed"))
        equal(b.rest("PUT", path, body, If_Match=f"revision_number={net['revision_number']}").status, 200)
        equal(b.rest("DELETE", path).status, 204)


def lines(b, name):
    with open(os.path.join(b.folder, "log", name), encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def operators(b):
    def logged(name, wanted):
        return b.wait("a line in " + name, lambda: [line for line in lines(b, name) if wanted(line)])

    with b.check("access.log knows each request, by our id and the caller's"):
        reply = b.rest("GET", "/compute/v2.1/servers?name=a-secret", X_Openstack_Request_Id=GLOBAL)
        line = logged("access.log", lambda l: l["request_id"] == reply.headers["X-Openstack-Request-Id"])[0]
        equal((line["global_request_id"], line["method"], line["path"], line["status"], line["bytes"]), (GLOBAL, "GET", "/compute/v2.1/servers", 200, len(reply.raw)))
        equal((line["route"], line["service"], len(line["user_id"])), ("/v2.1/servers", "nova", 32))
        assert "a-secret" not in json.dumps(lines(b, "access.log"))
    with b.check("audit.log knows logins and changes, refused ones too, and no password"):
        reply = b.rest("POST", "/identity/v3/auth/tokens", {"auth": {"identity": {"methods": ["password"], "password": {
            "user": {"name": "demo", "domain": {"id": "default"}, "password": "a-wrong-guess"}}}}}, user=None)
        event = logged("audit.log", lambda e: e["initiator"]["request_id"] == reply.headers["X-Openstack-Request-Id"])[0]
        equal((event["action"], event["outcome"], event["reason"]["reasonCode"]), ("authenticate", "failure", "401"))
        reply = b.rest("POST", "/network/v2.0/networks", {"network": {"name": "audited"}})
        event = logged("audit.log", lambda e: e["initiator"]["request_id"] == reply.headers["X-Openstack-Request-Id"])[0]
        equal((event["action"], event["target"]["typeURI"], event["target"]["id"]), ("create", "service/network/networks", reply.json["network"]["id"]))
        b.rest("DELETE", "/network/v2.0/networks/" + reply.json["network"]["id"])
        logged("audit.log", lambda e: e["action"] == "delete" and e["target"]["id"] == reply.json["network"]["id"])
        logged("audit.log", lambda e: e["action"].startswith("update/") and e["target"]["typeURI"] == "service/compute/servers/server")
        assert "a-wrong-guess" not in json.dumps(lines(b, "audit.log"))
    with b.check("SIGHUP opens the logs anew, though serve is not root"):
        old = os.path.join(b.folder, "log", "access.log")
        owner = os.stat(old)
        os.rename(old, old + ".1")
        os.close(os.open(old, os.O_CREAT | os.O_WRONLY, 0o640))  # as logrotate's `create` does
        os.chown(old, owner.st_uid, owner.st_gid)
        with open(os.path.join(b.folder, "run", "pid", "serve"), encoding="utf-8") as file:
            os.kill(int(file.read().split()[0]), signal.SIGHUP)
        b.wait("a line in the new file", lambda: b.rest("GET", "/identity/v3") and lines(b, "access.log"))
    with b.check("metrics, by port and by command"):
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open("http://127.0.0.1:5096/metrics") as page:
            equal(page.headers["Content-Type"], "text/plain; version=0.0.4; charset=utf-8")
            text = page.read().decode()
        for page in (text, b.virga("metrics")):
            subset(['virga_http_requests_total{service="nova",method="GET",route="/v2.1/servers",code="200"}', "process_resident_memory_bytes", "virga_build_info"], page)


def walk(b):
    answers(b)
    operators(b)
