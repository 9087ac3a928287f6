"""Discovery, tokens, catalogue, users, projects, roles."""
import os
import subprocess

from harness import equal, subset


def discovery(b):
    with b.check("the cloud's root lists the services"):
        equal({s["type"] for s in b.rest("GET", "/", user=None).json["services"]} & {"identity", "image", "compute", "network", "placement"},
              {"identity", "image", "compute", "network", "placement"})
    with b.check("identity's discovery documents"):
        for root in ("/identity/", "/identity"):
            reply = b.rest("GET", root, user=None)
            equal(reply.status, 300)
            equal(reply.json["versions"]["values"][0]["id"], "v3.14")
        for v3 in ("/identity/v3", "/identity/v3/", "/v3", "/v3/"):
            reply = b.rest("GET", v3, user=None)
            equal((reply.status, reply.json["version"]["status"]), (200, "stable"))
        equal(b.rest("GET", "/v3", user=None).json["version"]["links"][0]["href"], b.url + "/v3/")
    with b.check("image's discovery documents"):
        equal(b.rest("GET", "/image/", user=None).status, 300)
        reply = b.rest("GET", "/image/versions", user=None)
        subset(["v2.0", "v2.15"], [v["id"] for v in reply.json["versions"]])
        equal([v["status"] for v in reply.json["versions"]].count("CURRENT"), 1)
    with b.check("compute's discovery documents"):
        versions = b.rest("GET", "/compute/", user=None).json["versions"]
        current = [v for v in versions if v["status"] == "CURRENT"][0]
        equal((current["id"], current["min_version"], current["version"]), ("v2.1", "2.1", "2.93"))
        for v21 in ("/compute/v2.1", "/compute/v2.1/"):
            equal(b.rest("GET", v21, user=None).json["version"]["version"], "2.93")
    with b.check("network's discovery documents"):
        equal(b.rest("GET", "/network/", user=None).json["versions"][0]["id"], "v2.0")
        subset(["networks", "ports", "routers"], [r["collection"] for r in b.rest("GET", "/network/v2.0/", user=None).json["resources"]])
    with b.check("placement's discovery document"):
        version = b.rest("GET", "/placement/", user=None).json["versions"][0]
        equal((version["id"], version["status"], version["min_version"]), ("v1.0", "CURRENT", "1.0"))
    with b.check("openstack versions show"):
        rows = b.get("admin", "versions show")
        subset(["identity", "image", "compute", "network", "placement"], [r["Service Type"] for r in rows])


def tokens(b):
    with b.check("keystonerc_admin and keystonerc_demo work as packstack's do"):
        for who in ("admin", "demo"):
            file = os.environ["HOME"] + "/keystonerc_" + who
            equal(os.stat(file).st_mode & 0o777, 0o600)
            done = subprocess.run(["bash", "-c", f". {file} && openstack token issue -f value -c id"], capture_output=True, text=True, timeout=60)
            assert done.returncode == 0 and len(done.stdout) > 30, done.stderr
    with b.check("token issue, token revoke"):
        token = b.get("admin", "token issue")
        equal(b.rest("GET", "/identity/v3/auth/projects", user=None, X_Auth_Token=token["id"]).status, 200)
        b.do("admin", "token revoke", token["id"])
        equal(b.rest("GET", "/identity/v3/auth/projects", user=None, X_Auth_Token=token["id"]).status, 401)
    with b.check("tokens of project, domain and system scope, and without scope"):
        def log_in(scope):
            who = b.state["admin"]
            auth = {"identity": {"methods": ["password"], "password": {"user": {"name": who["user"], "password": who["password"], "domain": {"name": "Default"}}}}}
            reply = b.rest("POST", "/identity/v3/auth/tokens", {"auth": {**auth, **({"scope": scope} if scope else {})}}, user=None)
            equal(reply.status, 201)
            return reply.headers["X-Subject-Token"], reply.json["token"]
        equal(log_in({"system": {"all": True}})[1]["system"], {"all": True})
        equal(log_in({"project": {"name": "admin", "domain": {"id": "default"}}})[1]["project"]["name"], "admin")
        plain, unscoped = log_in(None)
        subset(["methods", "user", "audit_ids"], unscoped)
        rescoped = b.rest("POST", "/identity/v3/auth/tokens", {"auth": {"identity": {"methods": ["token"], "token": {"id": plain}},
                          "scope": {"project": {"name": "admin", "domain": {"id": "default"}}}}}, user=None)
        equal((rescoped.status, sorted(rescoped.json["token"]["methods"])), (201, ["password", "token"]))
        shown = b.rest("GET", "/identity/v3/auth/tokens", user="admin", X_Subject_Token=plain)
        equal((shown.status, shown.json["token"]["user"]["name"]), (200, "admin"))
    with b.check("catalog list, catalog show: each endpoint answers"):
        rows = {r["Type"]: r for r in b.get("demo", "catalog list")}
        subset(["identity", "image", "compute", "network", "placement"], rows)
        for row in rows.values():
            for endpoint in row["Endpoints"]:
                equal(b.rest("GET", endpoint["url"], user=None).status in (200, 300), True)
        equal(b.get("demo", "catalog show", "nova")["type"], "compute")
    with b.check("service, endpoint and region list"):
        subset(["keystone", "glance", "nova", "neutron", "placement"], [r["Name"] for r in b.get("admin", "service list")])
        equal({r["Region"] for r in b.get("admin", "endpoint list")}, {"RegionOne"})
        equal([r["Region"] for r in b.get("admin", "region list")], ["RegionOne"])


def people(b):
    with b.check("user, project, role and domain list"):
        subset(["admin", "demo"], [r["Name"] for r in b.get("admin", "user list", "--long")])
        subset(["admin", "demo"], [r["Name"] for r in b.get("admin", "project list")])
        subset(["admin", "member", "reader"], [r["Name"] for r in b.get("admin", "role list")])
        equal(b.get("admin", "domain list")[0]["Name"], "Default")
    with b.check("role assignment list --user admin --names"):
        rows = b.get("admin", "role assignment list", "--user", "admin", "--names")
        subset([("admin", "admin@Default", "admin@Default")], [(r["Role"], r["User"], r["Project"]) for r in rows])
        subset(["member", "reader"], [r["Role"] for r in b.get("admin", "role assignment list", "--user", "admin", "--project", "admin", "--effective", "--names")])
    with b.check("a project and a user with a role: create, log in, disable"):
        project = b.get("admin", "project create", "--description", "of the test", "lab")
        user = b.get("admin", "user create", "--password", "pw-ann", "--project", "lab", "--email", "ann@example.org", "ann")
        equal(user["email"], "ann@example.org")
        b.do("admin", "role add", "--user", "ann", "--project", "lab", "member")
        b.state["ann"] = {"user": "ann", "password": "pw-ann", "project": "lab"}
        equal(b.rest("GET", "/compute/v2.1/servers", user="ann").status, 200)
        equal(b.get("admin", "user show", "ann")["default_project_id"], project["id"])
        b.do("admin", "user set", "--disable", "ann")
        equal(b.rest("GET", "/compute/v2.1/servers", user="ann").status, 401)
        b.do("admin", "user set", "--enable", "--password", "pw-two", "ann")
        b.state["ann"]["password"] = "pw-two"
        del b.tokens["ann"]
        equal(b.rest("GET", "/compute/v2.1/servers", user="ann").status, 200)
    with b.check("groups, domains, roles, project set"):
        b.do("admin", "group create", "helpers")
        b.do("admin", "group set", "--name", "operators", "--description", "of the lab", "helpers")
        equal(b.get("admin", "group show", "operators")["description"], "of the lab")
        b.do("admin", "group add user", "operators", "ann")
        assert "ann in group operators" in b.do("admin", "group contains user", "operators", "ann")
        subset(["operators"], [r["Name"] for r in b.get("admin", "group list")])
        b.do("admin", "group remove user", "operators", "ann")
        b.do("admin", "group delete", "operators")
        b.do("admin", "role create", "auditor")
        b.do("admin", "role delete", "auditor")
        b.do("admin", "domain create", "lab-domain")
        b.do("admin", "domain set", "--disable", "lab-domain")
        b.do("admin", "domain delete", "lab-domain")
        b.do("admin", "project set", "--description", "changed", "lab")
        equal(b.get("admin", "project show", "lab")["description"], "changed")
    with b.check("service, endpoint and region of others: create, show, set, delete"):
        b.do("admin", "service create", "--name", "lab", "lab-type")
        b.do("admin", "region create", "Elsewhere")
        made = b.get("admin", "endpoint create", "--region", "Elsewhere", "lab", "public", "http://192.0.2.1/")
        equal(b.get("admin", "endpoint show", made["id"])["url"], "http://192.0.2.1/")
        b.do("admin", "endpoint set", "--url", "http://192.0.2.2/", made["id"])
        subset(["lab"], [r["Name"] for r in b.get("admin", "catalog list")])
        b.do("admin", "endpoint delete", made["id"])
        b.do("admin", "region delete", "Elsewhere")
        b.do("admin", "service delete", "lab")
    with b.check("implied roles"):
        b.do("admin", "role create", "boss")
        b.do("admin", "implied role create", "--implied-role", "reader", "boss")
        subset([("boss", "reader")], [(r["Prior Role Name"], r["Implied Role Name"]) for r in b.get("admin", "implied role list")])
        b.do("admin", "implied role delete", "--implied-role", "reader", "boss")
        b.do("admin", "role delete", "boss")
    with b.check("role remove, user delete, project delete"):
        b.do("admin", "role remove", "--user", "ann", "--project", "lab", "member")
        equal(b.rest("GET", "/compute/v2.1/servers", user="ann").status, 401)
        b.do("admin", "user delete", "ann")
        b.do("admin", "project delete", "lab")
    with b.check("user password set by the user itself"):
        b.do("admin", "user create", "--password", "first", "bob")
        b.do("admin", "role add", "--user", "bob", "--project", "demo", "member")
        b.state["bob"] = {"user": "bob", "password": "first", "project": "demo"}
        old = b.token("bob")
        with b.scoped("--os-project-name", "demo", "--os-project-domain-id", "default"):
            b.do("bob", "user password set", "--original-password", "first", "--password", "second")
        equal(b.rest("GET", "/identity/v3/auth/projects", user=None, X_Auth_Token=old).status, 401)
        b.do("admin", "user delete", "bob")


def log_in_with(b, name, **data):
    """POST /v3/auth/tokens with one method; the reply."""
    scope = data.pop("scope", None)
    auth = {"identity": {"methods": [name], name: data}}
    return b.rest("POST", "/identity/v3/auth/tokens", {"auth": {**auth, **({"scope": scope} if scope else {})}}, user=None)


def delegation(b):
    ids = {u["Name"]: u["ID"] for u in b.get("admin", "user list")}
    project = b.get("admin", "project show", "demo")["id"]
    member = next(r["ID"] for r in b.get("admin", "role list") if r["Name"] == "member")
    with b.check("application credential: create, use, list, show, delete"):
        made = b.get("demo", "application credential create", "--description", "of the test", "--role", "member", "ci")
        equal((made["roles"], made["unrestricted"]), ("member", False))
        reply = log_in_with(b, "application_credential", id=made["id"], secret=made["secret"])
        equal((reply.status, reply.json["token"]["project"]["id"]), (201, project))
        token = reply.headers["X-Subject-Token"]
        equal(b.rest("GET", "/compute/v2.1/servers", user=None, X_Auth_Token=token).status, 200)
        subset(["ci"], [r["Name"] for r in b.get("demo", "application credential list")])
        equal(b.get("demo", "application credential show", "ci")["id"], made["id"])
        b.do("demo", "application credential delete", "ci")
        equal(b.rest("GET", "/compute/v2.1/servers", user=None, X_Auth_Token=token).status, 401)
    with b.check("access rules hold in front of every service; access rule list, show, delete"):
        rules = '[{"service": "compute", "method": "GET", "path": "/v2.1/servers"}, {"service": "image", "method": "GET", "path": "/v2/images/*"}]'
        made = b.get("demo", "application credential create", "--access-rules", rules, "narrow")
        token = log_in_with(b, "application_credential", id=made["id"], secret=made["secret"]).headers["X-Subject-Token"]
        allowed = {path: b.rest("GET", path, user=None, X_Auth_Token=token).status for path in (
            "/compute/v2.1/servers", "/compute/v2.1/servers/detail", "/image/v2/images", "/image/v2/images/none", "/network/v2.0/networks",
            "/identity/v3/auth/projects", "/placement/resource_providers")}
        equal(allowed, {"/compute/v2.1/servers": 200, "/compute/v2.1/servers/detail": 401, "/image/v2/images": 401, "/image/v2/images/none": 404,
                        "/network/v2.0/networks": 401, "/identity/v3/auth/projects": 401, "/placement/resource_providers": 401})
        rules = b.get("demo", "access rule list")
        equal(sorted(r["Service"] for r in rules), ["compute", "image"])
        equal(b.get("demo", "access rule show", rules[0]["ID"])["method"], "GET")
        b.refused("demo", "access rule delete", rules[0]["ID"])
        b.do("demo", "application credential delete", "narrow")
        for rule in rules:
            b.do("demo", "access rule delete", rule["ID"])
        equal(b.get("demo", "access rule list"), [])
    with b.check("trust create, use, list, show, delete"):
        made = b.get("demo", "trust create", "--project", project, "--role", member, "--impersonate", ids["demo"], ids["admin"])
        equal((made["trustor_user_id"], made["impersonation"], made["roles"]), (ids["demo"], True, "member"))
        admin = b.state["admin"]
        reply = log_in_with(b, "password", user={"id": ids["admin"], "password": admin["password"]}, scope={"OS-TRUST:trust": {"id": made["id"]}})
        equal((reply.status, reply.json["token"]["user"]["name"]), (201, "demo"))
        token = reply.headers["X-Subject-Token"]
        equal(b.rest("GET", "/network/v2.0/networks", user=None, X_Auth_Token=token).status, 200)
        subset([made["id"]], [r["ID"] for r in b.get("admin", "trust list")])
        equal(b.get("demo", "trust show", made["id"])["project_id"], project)
        b.do("demo", "trust delete", made["id"])
        equal(b.rest("GET", "/network/v2.0/networks", user=None, X_Auth_Token=token).status, 401)
    with b.check("credential create, list, show, set, delete"):
        made = b.get("admin", "credential create", "--type", "cert", "--project", "demo", "demo", "a secret")
        equal(b.get("admin", "credential show", made["id"])["blob"], "a secret")
        subset([made["id"]], [r["ID"] for r in b.get("admin", "credential list", "--type", "cert")])
        b.do("admin", "credential set", "--user", "demo", "--type", "cert", "--data", "another", made["id"])
        equal(b.get("admin", "credential show", made["id"])["blob"], "another")
        b.do("admin", "credential delete", made["id"])
    with b.check("ec2 credentials create, list, show, delete"):
        made = b.get("demo", "ec2 credentials create", "--project", project)
        equal(made["project_id"], project)
        subset([made["access"]], [r["Access"] for r in b.get("demo", "ec2 credentials list")])
        equal(b.get("demo", "ec2 credentials show", made["access"])["secret"], made["secret"])
        b.do("demo", "ec2 credentials delete", made["access"])
    with b.check("multi-factor rules, passwords that expire"):
        b.do("admin", "user create", "--password", "pw-cat", "--multi-factor-auth-rule", "password,totp", "--enable-multi-factor-auth", "cat")
        cat = b.get("admin", "user show", "cat")
        equal(cat["options"]["multi_factor_auth_rules"], [["password", "totp"]])
        reply = log_in_with(b, "password", user={"id": cat["id"], "password": "pw-cat"})
        equal((reply.status, reply.json["required_auth_methods"], bool(reply.headers["Openstack-Auth-Receipt"])), (401, [["password", "totp"]], True))
        b.do("admin", "user set", "--disable-multi-factor-auth", "cat")
        equal(log_in_with(b, "password", user={"id": cat["id"], "password": "pw-cat"}).status, 201)
        b.do("admin", "user delete", "cat")


def walk(b):
    discovery(b)
    tokens(b)
    people(b)
    delegation(b)
