#!/usr/bin/python3
"""Uses a secret of every kind, rightly and wrongly, then looks for each: walk.py PROGRAM CONFIG FOLDER."""
import base64
import glob
import hashlib
import hmac
import json
import os
import re
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "contract"))
from harness import Bench, equal  # noqa: E402

signal.alarm(240)
FOLDER = sys.argv[3]
DATABASE = os.environ.pop("MARIADB_URL")  # or what is started from here would have it


class Secrets:
    """What must never be seen, by name; and every form it could be seen in."""

    def __init__(self):
        self.known = {}

    def add(self, name, value):
        assert value and len(value) >= 5, f"{name} is no secret that could be looked for: {value!r}"
        self.known.setdefault(value, name)
        return value

    def forms(self):
        for value, name in self.known.items():
            raw = value.encode()
            yield name, raw
            yield name + ", in a URL", urllib.parse.quote(value, safe="").encode()
            yield name + ", in base64", base64.b64encode(raw).rstrip(b"=")[:-1]
            yield name + ", in JSON", json.dumps(value)[1:-1].encode()

    def found_in(self, content):
        return sorted({name for name, form in self.forms() if form in content})


s = Secrets()
b = Bench(*sys.argv[1:4])
COUNT = iter(range(10**6))


def fresh(name):
    """A secret that stands nowhere by chance."""
    return s.add(name, f"{name.replace(' ', '-')}-{os.urandom(9).hex()}")


def log_in(user, password, domain="default", scope=None, **more):
    auth = {"identity": {"methods": ["password"], "password": {"user": {"name": user, "domain": {"id": domain}, "password": password}}}}
    if scope:
        auth["scope"] = scope
    reply = b.rest("POST", "/identity/v3/auth/tokens", {"auth": auth}, user=None, **more)
    if reply.headers.get("X-Subject-Token"):
        s.add("token", reply.headers["X-Subject-Token"])
    return reply


def project(name):
    return {"project": {"name": name, "domain": {"id": "default"}}}


def passwords():
    with b.check("passwords: made, used, mistyped, changed, refused"):
        for who in ("admin", "demo"):
            s.add(who + "'s password", b.state[who]["password"])
            equal(log_in(who, b.state[who]["password"], scope=project(who)).status, 201)
            s.add("token", b.token(who))
        first = fresh("first password")
        made = b.rest("POST", "/identity/v3/users", {"user": {"name": "sam", "password": first}}, user="admin").json["user"]
        equal(log_in("sam", first).status, 201)
        equal(log_in("sam", fresh("mistyped password")).status, 401)
        equal(log_in("nobody", fresh("password of nobody")).status, 401)
        equal(log_in(fresh("password typed as name"), "x").status, 401)
        second = fresh("second password")
        path = f"/identity/v3/users/{made['id']}/password"
        equal(b.rest("POST", path, {"user": {"original_password": first, "password": second}}, user=None).status, 204)
        equal(b.rest("POST", path, {"user": {"original_password": first, "password": fresh("refused new password")}}, user=None).status, 401)
        equal(b.rest("PATCH", f"/identity/v3/users/{made['id']}", {"user": {"password": fresh("password set by admin")}}, user="admin").status, 200)
        broken = ('{"auth": {"identity": {"methods": ["password"], "password": {"user": {"password": "%s"' % fresh("password in broken JSON")).encode()
        equal(b.rest("POST", "/identity/v3/auth/tokens", broken, user=None, Content_Type="application/json").status, 400)
        odd = {"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": {"x": 1}, "password": [fresh("password in a list")]}}}}}
        equal(b.rest("POST", "/identity/v3/auth/tokens", odd, user=None).status, 400)
        equal(b.rest("POST", "/identity/v3/users", {"user": {"name": 5, "password": fresh("password beside a fault")}}, user="admin").status, 400)
        b.rest("GET", "/identity/v3/users?password=" + fresh("password in a query"), user="admin")
    with b.check("tokens: shown, refused, ended, and in places where they do not belong"):
        token = s.add("token", log_in("demo", b.state["demo"]["password"], scope=project("demo")).headers["X-Subject-Token"])
        equal(b.rest("GET", "/identity/v3/auth/tokens", user="admin", X_Subject_Token=token).status, 200)
        b.rest("GET", "/compute/v2.1/servers?token=" + token, user=None)
        b.rest("GET", "/nowhere/" + token, user=None)
        equal(b.rest("DELETE", "/identity/v3/auth/tokens", user="admin", X_Subject_Token=token).status, 204)
        equal(b.rest("GET", "/compute/v2.1/servers", user=None, X_Auth_Token=token).status, 401)
        equal(b.rest("GET", "/compute/v2.1/servers", user=None, X_Auth_Token=fresh("token that is none")).status, 401)


def delegated():
    me = b.rest("GET", "/identity/v3/users?name=demo", user="admin").json["users"][0]["id"]
    home = f"/identity/v3/users/{me}"
    with b.check("application credentials: given and made secrets, OAuth 2's header"):
        for body in ({"name": "given", "secret": fresh("secret of an application credential")}, {"name": "made"}):
            made = b.rest("POST", home + "/application_credentials", {"application_credential": body}).json["application_credential"]
            secret = s.add("secret of an application credential", made["secret"])
            for tried, status in ((secret, 201), (fresh("wrong application credential secret"), 401)):
                reply = b.rest("POST", "/identity/v3/auth/tokens", {"auth": {"identity": {
                    "methods": ["application_credential"], "application_credential": {"id": made["id"], "secret": tried}}}}, user=None)
                equal(reply.status, status)
                if status == 201:
                    s.add("token", reply.headers["X-Subject-Token"])
            pair = s.add("OAuth 2 header", base64.b64encode(f"{made['id']}:{secret}".encode()).decode())
            reply = b.rest("POST", "/identity/v3/OS-OAUTH2/token", b"grant_type=client_credentials", user=None,
                           Authorization="Basic " + pair, Content_Type="application/x-www-form-urlencoded")
            equal(reply.status, 200)
            s.add("access token", reply.json["access_token"])
    with b.check("EC2 secrets, credential blobs, TOTP seeds and passcodes"):
        project_id = b.rest("GET", "/identity/v3/auth/projects").json["projects"][0]["id"]
        made = b.rest("POST", home + "/credentials/OS-EC2", {"tenant_id": project_id}).json["credential"]
        s.add("EC2 secret", made["secret"])
        b.rest("GET", home + "/credentials/OS-EC2")
        equal(b.rest("POST", "/identity/v3/credentials", {"credential": {"type": "cert", "blob": fresh("blob"), "user_id": me}}).status, 201)
        equal(b.rest("POST", "/identity/v3/credentials", {"credential": {"type": 5, "blob": fresh("refused blob"), "user_id": me}}).status, 400)
        seed = s.add("TOTP seed", base64.b32encode(os.urandom(20)).decode())
        equal(b.rest("POST", "/identity/v3/credentials", {"credential": {"type": "totp", "blob": seed, "user_id": me}}).status, 201)
        digest = hmac.new(base64.b32decode(seed), struct.pack(">Q", int(time.time()) // 30), hashlib.sha1).digest()
        at = digest[-1] & 15
        passcode = "%06d" % ((struct.unpack(">I", digest[at:at + 4])[0] & 0x7FFFFFFF) % 10**6)
        reply = b.rest("POST", "/identity/v3/auth/tokens", {"auth": {"identity": {"methods": ["totp"], "totp": {"user": {
            "id": me, "passcode": passcode}}}}}, user=None)
        equal(reply.status, 401)  # alone it gives a receipt
        s.add("receipt", reply.headers["Openstack-Auth-Receipt"])
        equal(b.rest("GET", "/identity/v3/auth/tokens", user=None, Openstack_Auth_Receipt=fresh("receipt that is none")).status, 401)
    with b.check("OAuth 1: consumer, request token, verifier, access token"):
        made = b.get("admin", "consumer create")
        keys = ["--consumer-key", made["id"], "--consumer-secret", s.add("consumer secret", made["secret"])]
        asked = b.get("admin", "request token create", *keys, "--project", "admin")
        s.add("request token secret", asked["secret"])
        given = b.get("admin", "request token authorize", "--request-key", asked["id"], "--role", "member")
        s.add("OAuth verifier", given["oauth_verifier"])
        access = b.get("admin", "access token create", *keys, "--request-key", asked["id"], "--request-secret", asked["secret"],
                       "--verifier", given["oauth_verifier"])
        s.add("access token secret", access["secret"])
        b.refused("admin", "request token create", "--consumer-key", made["id"], "--consumer-secret", fresh("wrong consumer secret"), "--project", "admin")
    with b.check("a trust's token, and a domain's LDAP password"):
        trust = b.rest("POST", "/identity/v3/OS-TRUST/trusts", {"trust": {
            "trustor_user_id": me, "trustee_user_id": me, "project_id": project_id, "impersonation": True, "roles": [{"name": "member"}]}})
        equal(trust.status, 201)
        log_in("demo", b.state["demo"]["password"], scope={"OS-TRUST:trust": {"id": trust.json["trust"]["id"]}})
        domain = b.rest("POST", "/identity/v3/domains", {"domain": {"name": "ldap"}}, user="admin").json["domain"]["id"]
        options = {"config": {"ldap": {"url": "ldap://192.0.2.1", "user": "cn=x", "password": fresh("LDAP password")}}}
        equal(b.rest("PUT", f"/identity/v3/domains/{domain}/config", options, user="admin").status, 201)
        b.rest("PATCH", f"/identity/v3/domains/{domain}/config", {"config": {"ldap": {"nonsense": fresh("refused LDAP password")}}}, user="admin")
        b.rest("PATCH", f"/identity/v3/domains/{domain}", {"domain": {"enabled": False}}, user="admin")
        equal(b.rest("DELETE", f"/identity/v3/domains/{domain}", user="admin").status, 204)


def visit_console(url):
    """Opens a console's address as a browser does, over TLS."""
    parts = urllib.parse.urlsplit(url)
    trust = ssl.create_default_context(cafile=b.state["ca_file"])
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as plain, trust.wrap_socket(plain, server_hostname=parts.hostname) as link:
        link.sendall((f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nOrigin: https://{parts.netloc}\r\nUpgrade: websocket\r\n"
                      "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: binary\r\n"
                      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").encode())
        return link.recv(4096).decode(errors="replace")


def servers():
    with b.check("servers: passwords, user data, files, keys, consoles"):
        key = b.rest("POST", "/compute/v2.1/os-keypairs", {"keypair": {"name": "made"}}).json["keypair"]
        for line in key["private_key"].splitlines()[1:-1]:
            s.add("private key of a key pair", line)
        image = b.rest("GET", "/image/v2/images?name=tiny").json["images"][0]["id"]
        flavor = b.rest("GET", "/compute/v2.1/flavors").json["flavors"][0]["id"]
        network = b.rest("GET", "/network/v2.0/networks?name=private").json["networks"][0]["id"]
        data = fresh("user data")
        made = b.rest("POST", "/compute/v2.1/servers", {"server": {
            "name": "safe", "imageRef": image, "flavorRef": flavor, "networks": [{"uuid": network}], "key_name": "made",
            "adminPass": fresh("given adminPass"), "user_data": base64.b64encode(data.encode()).decode()}})
        equal(made.status, 202)
        injected = [{"path": "/etc/secret", "contents": base64.b64encode(fresh("injected file").encode()).decode()}]
        b.rest("POST", "/compute/v2.1/servers", {"server": {"name": "x", "imageRef": image, "flavorRef": flavor, "personality": injected}})
        server = "/compute/v2.1/servers/" + made.json["server"]["id"]
        s.add("adminPass", made.json["server"]["adminPass"])
        b.wait("ACTIVE", lambda: b.rest("GET", server).json["server"]["status"] == "ACTIVE")
        refused = {"server": {"name": "x", "imageRef": image, "flavorRef": flavor, "adminPass": fresh("refused adminPass"), "user_data": fresh("broken user data") + "!"}}
        equal(b.rest("POST", "/compute/v2.1/servers", refused).status, 400)
        b.rest("POST", server + "/action", {"changePassword": {"adminPass": fresh("changed adminPass")}})
        b.rest("POST", server + "/action", {"rebuild": {"imageRef": image, "adminPass": fresh("adminPass of a rebuild")}})
        b.wait("ACTIVE", lambda: b.rest("GET", server).json["server"]["status"] == "ACTIVE")
        for kind, protocol in (("serial", "serial"), ("novnc", "vnc")):
            console = b.rest("POST", server + "/remote-consoles", {"remote_console": {"type": kind, "protocol": protocol}}, OpenStack_API_Version="compute 2.6")
            equal(console.status, 200)
            url = console.json["remote_console"]["url"]
            assert url.startswith("wss://" if kind == "serial" else "https://"), url
            token = s.add("console token", re.search(r"token(?:=|%3D)([\w-]+)", url).group(1))
            address = f"{b.url.replace('https', 'wss')}/console/?token={token}"
            visit_console(address)
            visit_console(address)  # a second time it is refused
        visit_console(f"{b.url}/console/?token=" + fresh("console token that is none"))
        equal(b.rest("DELETE", server).status, 204)


def leave_in_anger():
    """A client that does not trust the API breaks its handshake off, which the log tells at debug."""
    host, port = b.url.removeprefix("https://").split(":")
    try:
        with socket.create_connection((host, int(port)), timeout=10) as plain, ssl.create_default_context().wrap_socket(plain, server_hostname=host):
            raise AssertionError("an unknown CA was trusted")
    except ssl.SSLCertVerificationError:
        pass


def operator():
    with b.check("virga's own commands"):
        for words in (["identity", "rotate-keys", "--credentials"], ["service", "status"], ["status"], ["explain", "server", "demo"], ["db", "tables"],
                      ["service", "restart", "serve"], ["up"], ["up", "--tls"]):
            with open(f"{FOLDER}/said/{'-'.join(words)}", "w") as out:
                done = subprocess.run([b.program, "--config", b.config, *words], stdout=out, stderr=subprocess.STDOUT, timeout=90)
            equal((words, done.returncode), (words, 0))
        equal(log_in("demo", b.state["demo"]["password"], scope=project("demo")).status, 201)


def keys_on_disk():
    password = urllib.parse.unquote(re.match(r"mariadb://[^:]*:([^@]*)@", DATABASE).group(1))
    s.add("database password", password)
    s.add("database URL", DATABASE)
    state = FOLDER + "/state"
    s.add("master key", open(f"{state}/control/master.key").read().strip())
    assert not any(os.path.exists(f"{state}/control/{folder}") for folder in ("token-keys", "credential-keys")), "keys lie in the clear"
    for path in glob.glob(state + "/tls/*.key"):
        for line in open(path).read().splitlines()[1:-1]:
            s.add("TLS key", line)


def processes():
    """This cloud's: whoever runs the program, or names its folder."""
    for path in glob.glob("/proc/[0-9]*"):
        try:
            line, environment = open(path + "/cmdline", "rb").read(), open(path + "/environ", "rb").read()
            ours = os.readlink(path + "/exe") == b.program or FOLDER.encode() in line
        except OSError:
            continue  # it has ended, or is the kernel's
        if ours and "walk.py" not in line.decode(errors="replace") and b"secrets/run" not in line and b"mariadb" not in line:
            yield path, line, environment


def look():
    logs = [p for p in glob.glob(FOLDER + "/log/**", recursive=True) + glob.glob(FOLDER + "/said/*") if os.path.isfile(p)]
    with b.check(f"the search finds what is there to find ({len(s.known)} secrets)"):
        probe = fresh("planted")
        for form in (probe, urllib.parse.quote(probe), base64.b64encode(probe.encode()).decode()):
            assert s.found_in(f"x {form} y".encode()), form
        assert len(s.known) > 60, len(s.known)
        written = b"".join(open(p, "rb").read() for p in logs)
        assert b"serve[" in written and b"agent[" in written and len(written) > 2000, "the logs are empty"
        assert b" D serve[" in written or b" D agent[" in written, "no log is at level debug"
    for path in sorted(logs):
        with b.check("no secret in " + path.removeprefix(FOLDER + "/")):
            found = s.found_in(open(path, "rb").read())
            assert not found, found
    with b.check("no secret in a process's arguments or environment"):
        seen = list(processes())
        assert len(seen) >= 3, seen  # supervisor, serve, agent
        for path, line, environment in seen:
            found = s.found_in(line + environment)
            assert not found, (path, line, found)
    with b.check("at rest: what need not be read again, and what is sealed, is not in the database"):
        password = urllib.parse.unquote(re.match(r"mariadb://[^:]*:([^@]*)@", DATABASE).group(1))
        port = re.search(r":(\d+)/", DATABASE).group(1)
        dump = subprocess.run(["mariadb-dump", "--no-defaults", "-h", "127.0.0.1", "-P", port, "-u", "virga", "virga"], capture_output=True,
                              env={**os.environ, "MYSQL_PWD": password}, check=True).stdout
        sealed = re.compile("password|token$|secret of an application|EC2|blob|TOTP|receipt|console|private key|TLS|key in")
        readable = re.compile("LDAP|adminPass|OAuth|access token|request token|consumer|user data")
        found = [name for name in s.found_in(dump) if sealed.search(name) and not readable.search(name)]
        assert not found, found
    with b.check("serve is sandboxed, and not root"):
        pid = next(path for path, line, _ in processes() if line.split(b"\0")[-2:-1] == [b"serve"])
        status = dict(line.split(":", 1) for line in open(pid + "/status") if ":" in line)
        equal((status["Seccomp"].strip(), status["NoNewPrivs"].strip()), ("2", "1"))
        assert "0" not in status["Uid"].split(), status["Uid"]


leave_in_anger()
passwords()
delegated()
servers()
operator()
keys_on_disk()
look()
print(f"{b.passed} passed, {b.failed} failed")
sys.exit(1 if b.failed else 0)
