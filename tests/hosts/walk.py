#!/usr/bin/python3
"""Joins hosts to a cloud, uses them, forges them and takes them out: walk.py PROGRAM CONFIG FOLDER. Ends with "N passed, N failed"."""
import glob
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

from harness import Bench, ClientError, equal, subset
from machine import Host, boot, server, states, token


def joining(b, second, third):
    with b.check("a token makes a machine a host within 10 s"):
        line = token(b)
        began = time.monotonic()
        subset(["second is a host of the cloud now"], second.join(line))
        took = time.monotonic() - began
        equal(states(b), {"first": "up", "second": "up"})
        assert took < 10, f"it took {took:.1f} s"
        print(f"note    virga join: {took:.2f} s")
        subset(["first", "second"], [h["Hypervisor Hostname"] for h in b.get("admin", "hypervisor list")])
        subset(["connected"], second.virga("status"))
    with b.check("the same token does not make another"):
        subset(["used already", "virga token create"], third.join(line, code=1))
        equal(set(states(b)), {"first", "second"})
    with b.check("a controller that is not the one of the token gets nothing"):
        line = token(b)
        wrong = line[:-1] + ("0" if line[-1] != "0" else "1")
        subset(["shows another key than the token names", "Nothing was sent"], third.join(wrong, code=1))
        subset(["is no token"], third.virga("join", "https://127.0.0.1:5087", "--token", "abc", code=1))
    with b.check("tokens are listed without their secrets, and can be taken back"):
        listed = b.virga("token", "list")
        secret = re.search(r"--token (\w+)\.", line).group(1)
        assert secret not in listed
        ids = re.findall(r"^(\S{36}) .*any host$", listed, re.M)
        for one in ids:
            b.virga("token", "revoke", one)
        subset(["none of this cloud's"], third.join(line, code=1))
    with b.check("a join that is broken off at each step goes on when it is run again, as the same host"):
        line = token(b, "--host", "third")
        url, text = re.search(r"virga join (\S+) --token (\S+)", line).groups()
        known = set()
        for point in ("join.key", "join.answered", "join.enrolled"):
            done = subprocess.run([b.program, "--config", third.config, "join", url, "--token", text, "--address", "127.0.0.1"],
                                  env={**os.environ, "VIRGA_KILL_POINT": point}, capture_output=True, text=True, timeout=60)
            equal(done.returncode, 137)
            known |= {h["name"] for h in json.loads(b.virga("host", "list", "--json"))}
        subset(["third is a host of the cloud now"], third.join(line))
        equal(known | {"third"}, {"first", "second", "third"})
        equal(states(b), {"first": "up", "second": "up", "third": "up"})
    with b.check("the same cloud's line again goes on with what is there; another cloud's is refused, and a controller does not join at all"):
        subset(["belongs to that cloud already", "third is a host of the cloud now"], third.join(token(b)))
        equal(states(b), {"first": "up", "second": "up", "third": "up"})
        subset(["is a host of the cloud at 127.0.0.1:5088 already"], third.join(token(b).replace("//127.0.0.1:", "//localhost:"), code=1))
        url, text = re.search(r"virga join (\S+) --token (\S+)", token(b)).groups()
        subset(["is a controller"], b.virga("join", url, "--token", text, code=1))


def working(b, second):
    with b.check("servers run where they are asked to, and by themselves on the emptier hosts"):
        boot(b, "on-second", "second")
        b.wait("it is ACTIVE", lambda: server(b, "on-second")["status"] == "ACTIVE")
        equal(server(b, "on-second")["OS-EXT-SRV-ATTR:host"], "second")
        for i in range(3):
            b.do("admin", f"server create any{i} --image tiny --flavor m1.nano --nic none")
        b.wait("all are ACTIVE", lambda: all(server(b, f"any{i}")["status"] == "ACTIVE" for i in range(3)))
        assert len({server(b, f"any{i}")["OS-EXT-SRV-ATTR:host"] for i in range(3)}) > 1
    with b.check("kill -9 of a host's agent: it is back, and its servers were never gone"):
        pid = second.agent_pid()
        os.kill(pid, signal.SIGKILL)
        b.wait("another agent", lambda: second.agent_pid() not in (0, None, pid))
        b.wait("it is connected", lambda: second.status()["agent"].get("connected"))
        equal(server(b, "on-second")["status"], "ACTIVE")
    with b.check("kill -9 of serve: all hosts are back without being told"):
        status = json.loads(b.virga("status", "--json"))
        os.kill(next(s["pid"] for s in status["services"] if s["name"] == "serve"), signal.SIGKILL)
        b.wait("the API", lambda: b.rest("GET", "/identity/v3", user=None).status == 200, 30)
        b.tokens.clear()
        b.do("admin", "server stop on-second")
        b.wait("it is off", lambda: server(b, "on-second")["status"] == "SHUTOFF")
        equal(states(b), {"first": "up", "second": "up", "third": "up"})


def moved(b, name, to=None):
    b.wait(f"{name} is where it goes", lambda: server(b, name)["status"] == "VERIFY_RESIZE", 30)
    assert to is None or host_of(b, name) == to, host_of(b, name)


def moving(b, second, third):
    boot(b, "mover", "second")
    b.wait("it is ACTIVE", lambda: server(b, "mover")["status"] == "ACTIVE")
    with b.check("a server migrates to the host that was asked for, with its disk, and is confirmed"):
        b.do("admin", "--os-compute-api-version 2.56 server migrate --host third mover")
        moved(b, "mover", "third")
        equal(second.status()["agent"]["servers"], 1 + sum(host_of(b, s["Name"]) == "second" for s in b.get("admin", "server list")))
        b.do("admin", "server migrate confirm mover")
        b.wait("it is ACTIVE", lambda: server(b, "mover")["status"] == "ACTIVE")
        subset(["disk_copy", "from second to third"], b.virga("explain", "server", "mover"))
    with b.check("a migration is reverted: it is where it was, and nothing is left on the other"):
        b.do("admin", "--os-compute-api-version 2.56 server migrate --host second mover")
        moved(b, "mover", "second")
        b.do("admin", "server migrate revert mover")
        b.wait("it is ACTIVE", lambda: server(b, "mover")["status"] == "ACTIVE", 30)
        equal(host_of(b, "mover"), "third")
        equal([(m["Source Compute"], m["Dest Compute"], m["Status"]) for m in b.get("admin", "server migration list --type cold-migration")],
              [("third", "second", "reverted"), ("second", "third", "confirmed")])
    for role, kill, back in (("the destination's agent", second, second), ("the source's agent", third, third)):
        with b.check(f"kill -9 of {role} during a migration: it comes to its end"):
            os.kill(kill.agent_pid(), signal.SIGSTOP)
            b.do("admin", "--os-compute-api-version 2.56 server migrate --host second mover")
            os.kill(kill.agent_pid(), signal.SIGKILL)
            moved(b, "mover", "second")
            b.do("admin", "server migrate revert mover")
            b.wait("it is ACTIVE", lambda: server(b, "mover")["status"] == "ACTIVE", 30)
    with b.check("drain: every server of a host goes elsewhere, and it takes no new ones"):
        before = [s["Name"] for s in b.get("admin", "server list") if host_of(b, s["Name"]) == "third"]
        said = b.virga("host", "drain", "third", "--reason", "new disks")
        subset([f"{name} (" for name in before] + ["third is empty"], said)
        assert "mover" in before and not [s for s in b.get("admin", "server list") if host_of(b, s["Name"]) == "third"]
        equal(third.status()["agent"]["servers"], 0)
        b.virga("host", "maintenance", "third", "--off")
    b.do("admin", "server delete --wait mover")


LIVE_KILL_POINTS = ["serve.after_commit", "serve.before_observe", "serve.after_observe", "agent.after_journal", "agent.after_disk",
                    "agent.after_departure_begun", "agent.after_departure", "agent.after_define", "agent.before_report"]


def live_migrations(b, name):
    return [(m["Source Compute"], m["Dest Compute"], m["Status"]) for m in b.get("admin", f"server migration list --server {name} --type live-migration")]


def moving_live(b, second, third):
    boot(b, "runner", "second")
    b.wait("it is ACTIVE", lambda: server(b, "runner")["status"] == "ACTIVE")
    hosts = {"second": second, "third": third}

    def move(to):
        b.do("admin", f"--os-compute-api-version 2.56 server migrate --live-migration --host {to} runner")

    def settled():
        try:
            shown = server(b, "runner")
        except ClientError:  # who answers died just now
            return None
        return shown["status"] == "ACTIVE" and not shown["OS-EXT-STS:task_state"] and host_of(b, "runner")

    def in_one_place():
        at = {s["Name"]: host_of(b, s["Name"]) for s in b.get("admin", "server list")}
        for name, host in hosts.items():
            b.wait(f"{name} has its own and no more", lambda: host.status()["agent"]["servers"] == list(at.values()).count(name), 30)
        status = b.virga("status")
        assert "quarantine" not in status, status

    with b.check("a server moves to the host that was asked for while it runs"):
        move("third")
        b.wait("it is there", lambda: settled() == "third", 30)
        equal(live_migrations(b, "runner"), [("second", "third", "completed")])
        in_one_place()
        subset(["from second to third, as it runs", "it runs on third"], b.virga("explain", "server", "runner"))
    with b.check("one that is not ready yet is aborted"):
        os.kill(second.agent_pid(), signal.SIGSTOP)
        move("second")
        b.wait("it is under way", lambda: server(b, "runner")["status"] == "MIGRATING")
        number = b.get("admin", "server migration list --server runner --type live-migration")[0]["Id"]
        b.do("admin", f"--os-compute-api-version 2.65 server migration abort runner {number}")
        os.kill(second.agent_pid(), signal.SIGCONT)
        b.wait("it is ACTIVE", lambda: settled() == "third")
        equal(live_migrations(b, "runner")[0], ("third", "second", "cancelled"))
        in_one_place()
    order = os.environ["VIRGA_KILL_POINT_FILE"]
    for point in LIVE_KILL_POINTS:
        with b.check(f"kill -9 at {point} while a server moves: it is on one host in the end, and runs"):
            with open(order + ".new", "w") as f:
                f.write(point)
            os.rename(order + ".new", order)
            try:
                move("second" if host_of(b, "runner") == "third" else "third")
            except ClientError:
                pass
            b.wait("somebody came to that point", lambda: not os.path.exists(order), 30)
            b.wait("it is settled", settled, 60)
            in_one_place()
    b.do("admin", "server delete --wait runner")


def fetching_ahead(b):
    def ends(since):
        """How what was asked for since then ended, by host; None while something runs."""
        with closing(sqlite3.connect(f"file:{glob.glob(b.folder + '/**/control/virga.db', recursive=True)[0]}?mode=ro", uri=True)) as database:
            rows = database.execute("SELECT h.hostname, o.state, o.started_at FROM operations o JOIN hosts h ON h.id = o.resource_id "
                                    "WHERE o.kind = 'cache-image' AND o.started_at > ? ORDER BY 1", (since,)).fetchall()
        return None if not rows or any(state == "running" for _, state, _ in rows) else rows

    b.do("admin", "aggregate create ahead")
    for host in ("second", "third"):
        b.do("admin", f"aggregate add host ahead {host}")
    last = ""
    order = os.environ["VIRGA_KILL_POINT_FILE"]
    for point in ("", "serve.after_prefetch", "agent.after_prefetch", "serve.before_observe", "serve.after_observe"):
        with b.check(f"kill -9 at {point} while hosts fetch an image ahead: they do" if point else "hosts of an aggregate fetch an image ahead"):
            if point:
                with open(order + ".new", "w") as f:
                    f.write(point)
                os.rename(order + ".new", order)
            try:
                b.do("admin", "--os-compute-api-version 2.81 aggregate cache image ahead tiny")
            except ClientError:  # who answers died; what it had committed goes on
                pass
            b.wait("it has come to its end", lambda: ends(last), 30)
            assert not os.path.exists(order), "nobody came to that point"
            rows = ends(last)
            equal([row[:2] for row in rows], [("second", "succeeded"), ("third", "succeeded")])
            last = max(row[2] for row in rows)
    for host in ("second", "third"):
        b.do("admin", f"aggregate remove host ahead {host}")
    b.do("admin", "aggregate delete ahead")


def dying(b, third):
    with b.check("a host that falls silent is down within 20 s, and says so wherever one looks"):
        boot(b, "on-third", "third")
        b.wait("it is ACTIVE", lambda: server(b, "on-third")["status"] == "ACTIVE")
        pid = third.agent_pid()
        os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        b.wait("it is down", lambda: states(b)["third"] == "down", 20)
        print(f"note    a silent host is down after {time.monotonic() - began:.1f} s")
        equal(b.rest("GET", "/compute/v2.1/servers/" + server(b, "on-third")["id"], user="admin",
                     OpenStack_API_Version="compute 2.16").json["server"]["host_status"], "UNKNOWN")
        b.do("admin", "server create nowhere --image tiny --flavor m1.nano --nic none --availability-zone nova:third")
        b.wait("ERROR", lambda: server(b, "nowhere")["status"] == "ERROR")
        subset(["third: its agent is not connected"], json.dumps(server(b, "nowhere")["fault"]))
        b.do("admin", "server delete nowhere")
        os.kill(pid, signal.SIGCONT)
        b.wait("it is up again", lambda: states(b)["third"] == "up", 20)


def forging(b, second, third):
    with b.check("a host that claims to be another is refused, and the other is not disturbed"):
        third.virga("service", "stop", "agent")
        own = open(third.folder + "/state/agent/host_id").read()
        open(third.folder + "/state/agent/host_id", "w").write(open(second.folder + "/state/agent/host_id").read())
        subprocess.run([b.program, "--config", third.config, "service", "start", "agent"], timeout=60)
        b.wait("its refusal", lambda: "This certificate is of the host " + own.strip() in third.log())
        assert second.status()["agent"]["connected"]
        third.virga("service", "stop", "agent")
        open(third.folder + "/state/agent/host_id", "w").write(own)
    with b.check("a host that takes another name is refused"):
        text = open(third.config).read()
        open(third.config, "w").write(text.replace('host_name = "third"', 'host_name = "second"'))
        subprocess.run([b.program, "--config", third.config, "service", "start", "agent"], timeout=60)
        b.wait("its refusal", lambda: "This host was enrolled as third, not as second" in third.log())
        open(third.config, "w").write(text)
        third.virga("service", "restart", "agent")
        b.wait("it is let in again", lambda: third.status()["agent"].get("connected"))
    with b.check("without a certificate nobody speaks to the link"):
        done = subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:5088", "-alpn", "h2", "-tls1_2"], input="x" * 64,
                              capture_output=True, text=True, timeout=20)
        assert "certificate required" in done.stderr or "alert" in done.stderr or done.returncode, done.stderr[-300:]


def host_of(b, name):
    return server(b, name)["OS-EXT-SRV-ATTR:host"]


def losing(b, second, third):
    fenced, failing = b.folder + "/fenced", b.folder + "/fence-fails"
    for name in ("kept", "moved"):
        boot(b, name, "third")
    b.wait("they are ACTIVE", lambda: all(server(b, name)["status"] == "ACTIVE" for name in ("kept", "moved")))
    b.do("admin", "server set moved --property ha:restart=auto")
    with b.check("a host that is up is not evacuated; one that is silent is not believed to be off until it is fenced"):
        subset(["third is up"], b.virga("host", "evacuate", "third", code=1))
        open(failing, "w").close()
        pid = third.agent_pid()
        os.kill(pid, signal.SIGSTOP)
        b.wait("it is down", lambda: states(b)["third"] == "down", 20)
        subset(["is silent, and nobody has said that it is off"], b.refused("admin", "server evacuate moved"))
        b.wait("it was tried to fence it", lambda: os.path.exists(fenced) and "third 127.0.0.1" in open(fenced).read(), 30)
        subset(["did not fence third", "no answer from the power strip"], b.virga("host", "evacuate", "third", code=1))
        equal({host_of(b, "kept"), host_of(b, "moved")}, {"third"})
    with b.check("once it is fenced, the server that asked for it is built again elsewhere by itself, and only that"):
        os.unlink(failing)
        b.wait("it is elsewhere", lambda: host_of(b, "moved") != "third", 20)
        b.wait("it is ACTIVE", lambda: server(b, "moved")["status"] == "ACTIVE")
        equal(host_of(b, "kept"), "third")
        subset(["evacuate", "from third, which is lost, to"], b.virga("explain", "server", "moved"))
    with b.check("the operator has the others built again with one command"):
        subset(["kept", "is built again elsewhere"], b.virga("host", "evacuate", "third"))
        b.wait("it is ACTIVE", lambda: server(b, "kept")["status"] == "ACTIVE")
        assert host_of(b, "kept") != "third"
        equal(b.rest("GET", "/compute/v2.1/os-services?host=third", user="admin", OpenStack_API_Version="compute 2.53").json["services"][0]["forced_down"], True)
    with b.check("when the host is back it removes what is no longer its own, and takes servers again once it is told to"):
        assert third.status()["agent"]["servers"] >= 2, third.status()["agent"]
        os.kill(pid, signal.SIGCONT)
        b.wait("it has none", lambda: third.status()["agent"].get("connected") and third.status()["agent"]["servers"] == 0, 30)
        third.virga("service", "restart", "agent")  # what it finds without being told to remove it would be in quarantine
        b.wait("it is connected", lambda: third.status()["agent"].get("connected"))
        status = b.virga("status")
        assert "quarantine" not in status and third.status()["agent"]["servers"] == 0, status
        assert "third" not in {host_of(b, name) for name in ("kept", "moved")}
        b.virga("host", "maintenance", "third", "--off")
        equal(states(b)["third"], "up")
    b.do("admin", "server delete --wait kept moved")


def going(b, second, third):
    with b.check("maintenance: no new servers there, with the reason"):
        b.virga("host", "maintenance", "second", "--reason", "new disks")
        b.do("admin", "server create nowhere --image tiny --flavor m1.nano --nic none --availability-zone nova:second")
        b.wait("ERROR", lambda: server(b, "nowhere")["status"] == "ERROR")
        subset(["second: it is disabled (new disks)"], json.dumps(server(b, "nowhere")["fault"]))
        b.do("admin", "server delete nowhere")
        b.virga("host", "maintenance", "second", "--off")
        subset(["no host fourth"], b.virga("host", "maintenance", "fourth", code=1))
    with b.check("a host with servers is not removed"):
        boot(b, "again", "third")
        b.wait("it is ACTIVE", lambda: server(b, "again")["status"] == "ACTIVE")
        subset(["hosting instances", "On third: "], b.virga("host", "remove", "third", code=1))
        subset(["servers run here"], third.virga("leave", code=1))
    with b.check("a host that was removed is not let in any more, and its machine can be cleaned and join again"):
        names = [s["Name"] for s in b.get("admin", "server list") if server(b, s["Name"])["OS-EXT-SRV-ATTR:host"] == "third"]
        b.do("admin", "server delete", "--wait", *names)
        b.wait("the host has none", lambda: third.status()["agent"]["servers"] == 0)
        b.virga("host", "remove", "third")
        equal(set(states(b)), {"first", "second"})
        equal([p["name"] for p in b.rest("GET", "/placement/resource_providers", user="admin").json["resource_providers"]], ["first", "second"])
        b.wait("it knows", lambda: "not enrolled here, or was removed" in third.log())
        third.virga("leave")
        equal(open(third.config).read(), third.before)
        equal(sorted(os.listdir(third.folder)), ["virga.toml"])
        subset(["third is a host of the cloud now"], third.join(token(b)))
    with b.check("host list shows what there is"):
        rows = {h["name"]: h for h in json.loads(b.virga("host", "list", "--json"))}
        equal(rows["second"]["state"], "up")
        assert rows["second"]["certificate_expires_at"] and not rows["first"]["certificate_expires_at"]
        assert rows["second"]["servers"] >= 1


signal.alarm(600)
bench = Bench(*sys.argv[1:4])
bench.options = ["--os-compute-api-version", "2.53"]  # older ones cannot ask for no network
second, third = Host(bench, "second"), Host(bench, "third")
joining(bench, second, third)
working(bench, second)
moving(bench, second, third)
moving_live(bench, second, third)
fetching_ahead(bench)
dying(bench, third)
forging(bench, second, third)
losing(bench, second, third)
going(bench, second, third)
print(f"{bench.passed} passed, {bench.failed} failed")
sys.exit(1 if bench.failed else 0)
