"""A machine that joins a cloud of the tests, on the fake hypervisor, and what one asks about it."""
import json
import os
import re


class Host:
    """A machine that is none: folders and a configuration of its own."""

    def __init__(self, bench, name):
        self.b, self.name, self.folder = bench, name, f"{bench.folder}/{name}"
        os.mkdir(self.folder)
        self.config = self.folder + "/virga.toml"
        self.before = f"""[cloud]
state_dir = "{self.folder}/state"
run_dir = "{self.folder}/run"
log_dir = "{self.folder}/log"
[compute]
hypervisor = "fake"
host_name = "{name}"
"""
        open(self.config, "w").write(self.before)

    def virga(self, *words, code=0):
        return self.b.virga(*words, code=code, config=self.config)

    def join(self, line, *more, code=0):
        url, token = re.search(r"virga join (\S+) --token (\S+)", line).groups()
        return self.virga("join", url, "--token", token, "--address", "127.0.0.1", *more, code=code)

    def status(self):
        return json.loads(self.virga("status", "--json"))

    def agent_pid(self):
        return next(s["pid"] for s in self.status()["services"] if s["name"] == "agent")

    def log(self):
        return open(self.folder + "/log/agent.log").read()


def token(b, *more):
    return b.virga("token", "create", *more).strip().splitlines()[-1]


def states(b):
    return {s["Host"]: s["State"] for s in b.get("admin", "compute service list", "--service", "nova-compute")}


def boot(b, name, host):
    b.do("admin", f"server create {name} --image tiny --flavor m1.nano --nic none --availability-zone nova:{host}")
    return b.get("admin", f"server show {name}")["id"]


def server(b, name):
    return b.get("admin", f"server show {name}")
