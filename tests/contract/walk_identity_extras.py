"""Identity's other resources: domain configuration, policies, endpoint filter, OAuth, limits, federation, project trees."""
import json
import os

from harness import equal, subset


def projects(b):
    with b.check("a tree of projects: parents, children, tags, what is immutable"):
        top = b.get("admin", "project create", "--tag", "blue", "tree")
        below = b.get("admin", "project create", "--parent", "tree", "--tag", "blue", "--tag", "red", "leaf")
        equal(below["parent_id"], top["id"])
        subset([top["id"]], json.dumps(b.get("admin", "project show", "--parents", "leaf")["parents"]))
        subset([below["id"]], json.dumps(b.get("admin", "project show", "--children", "tree")["subtree"]))
        equal([r["Name"] for r in b.get("admin", "project list", "--tags", "blue,red")], ["leaf"])
        equal(sorted(r["Name"] for r in b.get("admin", "project list", "--tags-any", "blue,red")), ["leaf", "tree"])
        equal([r["Name"] for r in b.get("admin", "project list", "--parent", "tree")], ["leaf"])
        b.do("admin", "project set", "--immutable", "leaf")
        assert "immutable" in b.refused("admin", "project delete", "leaf")
        b.do("admin", "project set", "--no-immutable", "leaf")
        b.do("admin", "project delete", "leaf")
        b.do("admin", "project delete", "tree")
    with b.check("a domain's own role, implied rules, role show and set"):
        b.do("admin", "domain create", "rooms")
        b.do("admin", "role create", "--domain", "rooms", "keeper")
        b.do("admin", "role set", "--domain", "rooms", "--description", "of keys", "keeper")
        equal(b.get("admin", "role show", "--domain", "rooms", "keeper")["description"], "of keys")
        equal([r["Name"] for r in b.get("admin", "role list", "--domain", "rooms")], ["keeper"])
        assert "immutable" in b.refused("admin", "role delete", "admin")
        b.do("admin", "role delete", "--domain", "rooms", "keeper")
    with b.check("a domain's configuration (no command of the client has it)"):
        domain = b.get("admin", "domain show", "rooms")["id"]
        path = f"/identity/v3/domains/{domain}/config"
        config = {"identity": {"driver": "ldap"}, "ldap": {"url": "ldap://127.0.0.1", "password": "never-shown"}}
        made = b.rest("PUT", path, {"config": config}, user="admin")
        equal((made.status, made.json["config"]["ldap"]), (201, {"url": "ldap://127.0.0.1"}))
        equal(b.rest("GET", path + "/ldap/password", user="admin").status, 404)
        equal(b.rest("DELETE", path, user="admin").status, 204)
        equal(b.rest("GET", "/identity/v3/domains/config/identity/driver/default", user="admin").json["config"], {"driver": "sql"})
        b.do("admin", "domain set", "--disable", "rooms")
        b.do("admin", "domain delete", "rooms")


def write(b, name, content):
    path = os.path.join(b.folder, name)
    with open(path, "w") as file:
        json.dump(content, file)
    return path


def catalogue(b):
    with b.check("policy create, list, set, show, delete"):
        made = b.get("admin", "policy create", "--type", "text/x", write(b, "policy.json", {"a": 1}))
        subset([made["id"]], [r["ID"] for r in b.get("admin", "policy list", "--long")])
        b.do("admin", "policy set", "--type", "text/y", made["id"])
        equal(b.get("admin", "policy show", made["id"])["type"], "text/y")
        b.do("admin", "policy delete", made["id"])
    with b.check("the endpoint filter: endpoint add project, endpoint group …"):
        b.do("admin", "service create", "--name", "toys", "toy")
        b.do("admin", "service set", "--description", "of the test", "toys")
        equal(b.get("admin", "service show", "toys")["description"], "of the test")
        end = b.get("admin", "endpoint create", "--region", "RegionOne", "toys", "public", "http://192.0.2.1/")["id"]
        b.do("admin", "project create", "filtered")
        b.do("admin", "role add", "--user", "admin", "--project", "filtered", "member")
        b.do("admin", "endpoint add project", end, "filtered")
        equal([r["ID"] for r in b.get("admin", "endpoint list", "--project", "filtered")], [end])
        with b.scoped("--os-project-name", "filtered", "--os-project-domain-id", "default"):
            equal([r["Name"] for r in b.get("admin", "catalog list")], ["toys"])
        b.do("admin", "endpoint remove project", end, "filtered")
        group = b.get("admin", "endpoint group create", "toybox", write(b, "filters.json", {"interface": "public"}))
        equal(group["filters"], {"interface": "public"})
        b.do("admin", "endpoint group set", "--description", "changed", "toybox")
        b.do("admin", "endpoint group add project", "toybox", "filtered")
        equal([r["Name"] for r in b.get("admin", "endpoint group list", "--project", "filtered")], ["toybox"])
        equal(b.get("admin", "endpoint group show", "toybox")["description"], "changed")
        b.do("admin", "endpoint group remove project", "toybox", "filtered")
        b.do("admin", "endpoint group delete", "toybox")
        b.do("admin", "project delete", "filtered")
        b.do("admin", "service delete", "toys")
    with b.check("region set and show"):
        b.do("admin", "region create", "--description", "a", "Far")
        b.do("admin", "region set", "--description", "b", "Far")
        equal(b.get("admin", "region show", "Far")["description"], "b")
        b.do("admin", "region delete", "Far")


def oauth(b):
    with b.check("consumer …, request token create and authorize, access token create"):
        made = b.get("admin", "consumer create", "--description", "a program")
        b.do("admin", "consumer set", "--description", "the program", made["id"])
        shown = b.get("admin", "consumer show", made["id"])
        equal((shown["description"], "secret" in shown), ("the program", False))
        subset([made["id"]], [r["ID"] for r in b.get("admin", "consumer list")])
        keys = ["--consumer-key", made["id"], "--consumer-secret", made["secret"]]
        asked = b.get("admin", "request token create", *keys, "--project", "admin")
        given = b.get("admin", "request token authorize", "--request-key", asked["id"], "--role", "member")
        access = b.get("admin", "access token create", *keys, "--request-key", asked["id"], "--request-secret", asked["secret"],
                       "--verifier", given["oauth_verifier"])
        subset(["id", "secret", "expires"], access)
        me = b.get("admin", "user show", "admin")["id"]
        listed = b.rest("GET", f"/identity/v3/users/{me}/OS-OAUTH1/access_tokens/{access['id']}/roles", user="admin").json
        equal([r["name"] for r in listed["roles"]], ["member"])
        b.do("admin", "consumer delete", made["id"])


def limits(b):
    with b.check("registered limit … and limit … of the system"), b.scoped("--os-system-scope", "all"):
        reg = b.get("admin", "registered limit create", "--service", "nova", "--default-limit", "5", "lab:things")
        b.do("admin", "registered limit set", "--default-limit", "6", reg["id"])
        equal(b.get("admin", "registered limit show", reg["id"])["default_limit"], 6)
        subset(["lab:things"], [r["Resource Name"] for r in b.get("admin", "registered limit list")])
        own = b.get("admin", "limit create", "--project", "demo", "--service", "nova", "--resource-limit", "2", "lab:things")
        b.do("admin", "limit set", "--resource-limit", "3", own["id"])
        equal(b.get("admin", "limit show", own["id"])["resource_limit"], 3)
        equal([r["Resource Limit"] for r in b.get("admin", "limit list", "--project", "demo")], [3])
        assert "limits associated" in b.refused("admin", "registered limit delete", reg["id"])
        b.do("admin", "limit delete", own["id"])
        b.do("admin", "registered limit delete", reg["id"])
    with b.check("the model of limits"):
        equal(b.rest("GET", "/identity/v3/limits/model", user="demo").json["model"]["name"], "flat")


def federation(b):
    with b.check("identity provider …, mapping …, federation protocol …, service provider …"):
        made = b.get("admin", "identity provider create", "--remote-id", "urn:x", "--enable", "idp")
        equal(made["enabled"], True)
        b.do("admin", "identity provider set", "--description", "d", "idp")
        equal(b.get("admin", "identity provider show", "idp")["description"], "d")
        rules = [{"local": [{"user": {"name": "{0}"}}], "remote": [{"type": "REMOTE_USER"}]}]
        b.do("admin", "mapping create", "--rules", write(b, "rules.json", rules), "map")
        b.do("admin", "mapping set", "--rules", write(b, "rules.json", rules), "map")
        equal(b.get("admin", "mapping show", "map")["rules"], rules)
        equal([r["ID"] for r in b.get("admin", "mapping list")], ["map"])
        of = ["--identity-provider", "idp"]
        b.do("admin", "federation protocol create", *of, "--mapping", "map", "saml2")
        # The client's command ends with an exit status of its own making, whatever was answered: what it changed proves it.
        b.do("admin", "mapping create", "--rules", write(b, "rules.json", rules), "other")
        b.client("admin", "federation", "protocol", "set", *of, "--mapping", "other", "saml2")
        equal(b.get("admin", "federation protocol show", *of, "saml2")["mapping"], "other")
        b.proven.add("federation protocol set")
        equal([r["id"] for r in b.get("admin", "federation protocol list", *of)], ["saml2"])
        subset(["admin"], [r["Name"] for r in b.get("admin", "federation project list")])
        b.do("admin", "federation domain list")
        b.do("admin", "federation protocol delete", *of, "saml2")
        b.do("admin", "mapping delete", "map")
        b.do("admin", "mapping delete", "other")
        equal([r["ID"] for r in b.get("admin", "identity provider list")], ["idp"])
        b.do("admin", "identity provider delete", "idp")
        b.do("admin", "domain set", "--disable", made["domain_id"])
        b.do("admin", "domain delete", made["domain_id"])
        urls = ["--auth-url", "https://sp.example.org/auth", "--service-provider-url", "https://sp.example.org/sp"]
        b.do("admin", "service provider create", *urls, "sp")
        b.do("admin", "service provider set", "--disable", "sp")
        equal(b.get("admin", "service provider show", "sp")["enabled"], False)
        equal([r["ID"] for r in b.get("admin", "service provider list")], ["sp"])
        b.do("admin", "service provider delete", "sp")
    with b.check("a federated login says that it is not built"):
        reply = b.rest("GET", "/identity/v3/auth/OS-FEDERATION/websso/openid", user=None)
        equal(reply.status, 501)
        assert "Federated login" in reply.json["error"]["message"]


def documents(b):
    with b.check("the home document"):
        reply = b.rest("GET", "/identity/v3", user=None, Accept="application/json-home")
        equal(reply.headers["Content-Type"], "application/json-home")
        users = reply.json["resources"]["https://docs.openstack.org/api/openstack-identity/3/rel/users"]
        equal(b.rest("GET", "/identity/v3" + users["href"] + "?name__startswith=adm", user="admin").json["users"][0]["name"], "admin")


def walk(b):
    projects(b)
    catalogue(b)
    oauth(b)
    limits(b)
    federation(b)
    documents(b)
