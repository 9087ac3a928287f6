#!/usr/bin/python3
"""Two controllers: walk.py PROGRAM CONFIG FOLDER. Ends with "N passed, N failed"."""
import glob
import hashlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time

from harness import Bench, equal, subset
from machine import Host, states, token
from pair import Controller, controller_token, join, second_controller

signal.alarm(420)
program, config, folder = sys.argv[1:4]


first = Controller(program, config, folder + "/status.json")
other_dir = folder + "/second"


def took(began):
    return f"{time.monotonic() - began:.2f} s"


with first.check("a token for a controller makes a machine the second one"):
    url, text = controller_token(first)
    began = time.monotonic()
    code, said = join(program, folder, url, text[:-1] + ("0" if text[-1] != "0" else "1"))
    assert code == 1 and "cannot be opened with this token" in said, said
    for point in ("join.controller_answered", "join.controller_keyed"):
        equal((point, join(program, folder, url, text, VIRGA_KILL_POINT=point)[0]), (point, 137))
    code, said = join(program, folder, url, text)
    equal((code, said if code else ""), (0, ""))
    print("note    the second controller is there after", took(began))
    equal(open(folder + "/state/control/master.key").read(), open(other_dir + "/state/control/master.key").read())
    assert oct(os.stat(other_dir + "/state/control/master.key").st_mode & 0o777) == "0o600"
    again = subprocess.run([program, "--config", folder + "/third.toml", "join", "--controller", url, "--token", text], capture_output=True, text=True, timeout=60)
    assert again.returncode == 1, again.stdout
    code, said = join(program, folder, url, text)
    assert code == 0 and "belongs to that cloud already" in said, said

second = second_controller(first, program, folder)

with first.check("clients that trust the first trust the second too: the API's CA is one"):
    certificate = ssl.create_default_context(cafile=folder + "/state/tls/ca.pem")
    with socket.create_connection(("127.0.0.1", int(second.url.rsplit(":", 1)[1]))) as plain, certificate.wrap_socket(plain, server_hostname="127.0.0.1") as tls:
        subset([("IP Address", "127.0.0.1")], tls.getpeercert()["subjectAltName"])
    equal(oct(os.stat(other_dir + "/state/tls/ca.key").st_mode & 0o777), "0o600")

both = (first, second)

with first.check("each knows the other, and NATS carries their wake-ups"):
    for one in both:
        first.wait("both live", lambda: [(c["name"], c["state"]) for c in json.loads(one.virga("controller", "list", "--json"))] == [("first", "up"), ("other", "up")])
    subset(["first", "other"], [s["host"] for s in first.rest("GET", "/compute/v2.1/os-services", user="admin").json["services"] if s["binary"] == "nova-scheduler"])
    first.wait("the second is connected to NATS", lambda: "NATS: connected" in second.log("serve"))

with first.check("a token of one is good on the other; what is taken away counts on the other with the next request"):
    for maker, other in (both, both[::-1]):
        for _ in range(5):
            made = maker.fresh_token("demo")
            equal(other.servers_with(made), 200)
            equal(maker.rest("DELETE", "/identity/v3/auth/tokens", user=None, X_Auth_Token=made, X_Subject_Token=made).status, 204)
            equal(other.servers_with(made), 401)
    made = second.fresh_token("demo")
    user = next(u["id"] for u in first.rest("GET", "/identity/v3/users?name=demo", user="admin").json["users"])
    for enabled, status in ((False, 401), (True, 401)):  # a token does not come back to life
        first.rest("PATCH", f"/identity/v3/users/{user}", {"user": {"enabled": enabled}}, user="admin")
        equal(second.servers_with(made), status)
    first.tokens.clear(), second.tokens.clear()

with first.check("a rotation of keys on one is one on both, and loses no token"):
    made = [one.fresh_token("demo") for one in both]
    for one in (*both, *both):
        one.virga("identity", "rotate-keys", "--credentials")
        made += [c.fresh_token("demo") for c in both]
        for text in made:
            for c in both:
                equal(c.servers_with(text), 200)

second_host, third_host = Host(first, "second-host"), Host(first, "third-host")
with first.check("hosts that join learn of both controllers"):
    for host in (second_host, third_host):
        host.join(token(first))
    for host in (second_host, third_host):
        first.wait("it knows both", lambda: host.log().count("the controllers are") or "5302" in open(host.config).read() and "5303" in open(host.config).read())
    equal(states(first), {"first": "up", "second-host": "up", "third-host": "up"})
    equal(states(second), states(first))

with first.check("what is asked of one reaches hosts that are connected to the other, quickly"):
    slowest = 0
    for i, one in enumerate(both * 4):
        began = time.monotonic()
        made = one.rest("POST", "/compute/v2.1/servers", {"server": {"name": f"s{i}", "imageRef": one.image("tiny"), "flavorRef": one.flavor("m1.nano"), "networks": "none",
                        "availability_zone": f"nova:{('second-host', 'third-host')[i // 2 % 2]}"}}, user="admin", OpenStack_API_Version="compute 2.53")
        equal((made.status, made.raw[:300] if made.status != 202 else b""), (202, b""))
        one.wait("ACTIVE", lambda: one.rest("GET", "/compute/v2.1/servers/" + made.json["server"]["id"], user="admin").json["server"]["status"] == "ACTIVE")
        slowest = max(slowest, time.monotonic() - began)
    print(f"note    the slowest of 8 boots over NATS: {slowest:.2f} s")
    assert slowest < 5, slowest

with first.check("consoles' logs and images are had on either"):
    ids = [s["id"] for s in first.rest("GET", "/compute/v2.1/servers", user="admin").json["servers"]]
    for one in both:
        for uuid in ids[:4]:
            equal(one.rest("POST", f"/compute/v2.1/servers/{uuid}/action", {"os-getConsoleOutput": {}}, user="admin").status, 200)
    for keeper, other in (both, both[::-1]):
        data = os.urandom(300_000)
        image = keeper.rest("POST", "/image/v2/images", {"name": "bytes", "disk_format": "raw", "container_format": "bare"}, user="admin").json["id"]
        equal(keeper.rest("PUT", f"/image/v2/images/{image}/file", data, user="admin", Content_Type="application/octet-stream").status, 204)
        equal(hashlib.sha256(other.rest("GET", f"/image/v2/images/{image}/file", user="admin").raw).hexdigest(), hashlib.sha256(data).hexdigest())
        equal(other.rest("DELETE", f"/image/v2/images/{image}", user="admin").status, 204)
    stores = [folder + "/state/control/images", other_dir + "/state/control/images"]
    first.wait("their bytes are gone from both", lambda: len({len(glob.glob(s + "/*")) for s in stores}) == 1 and not any(
        os.path.getsize(p) == 300_000 for s in stores for p in glob.glob(s + "/*")))

with first.check("without NATS everything goes on, a second later"):
    first.virga("service", "stop", "nats-server")
    slowest = 0
    for i, one in enumerate(both * 2):
        began = time.monotonic()
        for action, status in (({"os-stop": None}, "SHUTOFF"), ({"os-start": None}, "ACTIVE")):
            equal(one.rest("POST", f"/compute/v2.1/servers/{ids[i]}/action", action, user="admin").status, 202)
            one.wait(status, lambda: one.rest("GET", f"/compute/v2.1/servers/{ids[i]}", user="admin").json["server"]["status"] == status)
        slowest = max(slowest, time.monotonic() - began)
    print(f"note    the slowest of 4 stops and starts without NATS: {slowest:.2f} s")
    assert slowest < 8, slowest
    first.virga("service", "start", "nats-server")

with first.check("kill -9 of one controller: hosts turn to the other, and everything goes on"):
    hosts = {"second-host", "third-host"}
    first.kill_all_of_it()
    began = time.monotonic()
    second.wait("they are up", lambda: all(s["state"] == "up" for s in second.rest("GET", "/compute/v2.1/os-services?binary=nova-compute", user="admin").json["services"] if s["host"] in hosts), 30)
    for host in (second_host, third_host):
        second.wait("connected", lambda: host.status()["agent"].get("connected"), 30)
    print("note    hosts have turned to the other controller after", took(began))
    began = time.monotonic()
    for i, action, status in ((0, {"os-stop": None}, "SHUTOFF"), (2, {"reboot": {"type": "HARD"}}, "ACTIVE")):
        equal(second.rest("POST", f"/compute/v2.1/servers/{ids[i]}/action", action, user="admin").status, 202)
        second.wait(status, lambda: second.rest("GET", f"/compute/v2.1/servers/{ids[i]}", user="admin").json["server"]["status"] == status, 30)
    print("note    a stop and a reboot through it took", took(began))
    second.wait("the dead one is seen", lambda: [(c["name"], c["state"]) for c in json.loads(second.virga("controller", "list", "--json"))] == [("first", "down"), ("other", "up")], 20)
    first.virga("up")
    first.wait("it is back", lambda: first.rest("GET", "/identity/v3", user=None).status == 200, 40)
    second.wait("seen", lambda: [c["state"] for c in json.loads(second.virga("controller", "list", "--json"))] == ["up", "up"], 20)

with first.check("a controller that joined is purged without the cloud's database"):
    second.virga("down", "--purge")
    first.tokens.clear()
    equal(first.rest("GET", "/compute/v2.1/servers", user="admin").status, 200)

print(f"{first.passed} passed, {first.failed} failed")
sys.exit(1 if first.failed else 0)
