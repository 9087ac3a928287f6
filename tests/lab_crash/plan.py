"""What will be done and what will break, and when: a pure function of a seed and sizes.

A plan knows nothing of the cloud. Its operations name slots ("server 3"), of which each holds one resource at a time, and
were drawn as if each operation succeeded; what a refused or lost one means for those after it is decided when they run.
"""
import random
from dataclasses import dataclass, field

SLOTS = {"server": 6, "port": 4, "network": 2, "floatingip": 3, "group": 3, "image": 2}
# How often an operation concerns a kind, and what is done to a resource that is there: name to weight.
KINDS = {"server": 12, "port": 4, "network": 2, "floatingip": 3, "group": 3, "image": 1}
ACTIONS = {
    "server": {"stop": 3, "start": 4, "reboot": 2, "reboot hard": 1, "rename": 3, "delete": 3, "live": 4, "migrate": 3},
    "port": {"rename": 2, "regroup": 2, "delete": 2},
    "network": {"rename": 2, "delete": 2},
    "floatingip": {"attach": 3, "detach": 1, "delete": 2},
    "group": {"rename": 1, "rule": 3, "delete": 2},
    "image": {"delete": 1},
}
# What may be asked of a server that has moved and waits for a word.
MOVED = {"confirm": 3, "revert": 3, "rename": 1, "delete": 1}
ASIDE = {"stop", "start", "reboot", "reboot hard", "rename", "delete"}
# Processes of a host, with how often they are killed.
ANYWHERE = {"agent": 5, "libvirtd": 3, "ovs-vswitchd": 2, "ovsdb-server": 1, "ovn-controller": 2, "virtlogd": 1, "supervisor": 1,
            "qemu-system-x86_64": 2}
FIRST = {"serve": 8, "ovn-nb": 2, "ovn-sb": 2, "ovn-northd": 1}  # the first controller has guests, and OVN's databases
SHARED = {"mariadbd": 3, "nats-server": 2}                       # and what several share
FURTHER = {"serve": 8, "supervisor": 1}                          # another one has nothing else
PAUSED = {"agent": 4, "libvirtd": 2, "ovn-controller": 1, "ovs-vswitchd": 1}
FAULTS = {"kill": 8, "pause": 3, "cut": 3, "power": 2, "clock": 1}
WALLS = {"3306": 2, "4222": 1}  # ports of the database and NATS


@dataclass
class Operation:
    at: float  # seconds from the start
    number: int
    kind: str
    slot: int
    action: str
    detail: dict = field(default_factory=dict)

    def __str__(self):
        detail = "".join(f" {k}={v}" for k, v in self.detail.items())
        return f"{self.at:7.2f}  operation {self.number}: {self.action} {self.kind} {self.slot}{detail}"


@dataclass
class Fault:
    at: float
    until: float  # when it is mended; = at if it mends itself
    what: str     # kill, pause, cut, wall, power, evacuate, clock
    host: str
    other: str    # the process, the other end of a cut, a walled port, or by how much a clock is wrong; "" = all of the host

    def __str__(self):
        until = f" until {self.until:.2f}" if self.until > self.at else ""
        return f"{self.at:7.2f}  fault: {self.what} {self.host} {self.other}{until}".rstrip()


def choose(rng, weights):
    return rng.choices(list(weights), list(weights.values()))[0]


def operation_details(rng, kind, action):
    """What an operation needs to know besides its slot."""
    if action == "create" and kind == "server":
        return {"port": rng.randrange(SLOTS["port"])} if rng.random() < 0.25 else {}
    if action == "create" and kind == "port":
        return {"network": rng.randrange(SLOTS["network"])} if rng.random() < 0.3 else {}
    if action == "attach":
        return {"server": rng.randrange(SLOTS["server"])} if rng.random() < 0.7 else {"port": rng.randrange(SLOTS["port"])}
    if action == "regroup":
        return {"group": rng.randrange(SLOTS["group"])}
    if action == "rule":
        return {"port": rng.randrange(1, 60000)}
    return {}


def operations(rng, count, seconds):
    there, moved, planned = set(), set(), []
    for number in range(1, count + 1):
        at = (number - 1 + rng.random()) * seconds / count
        kind = choose(rng, KINDS)
        slot = rng.randrange(SLOTS[kind])
        known = MOVED if (kind, slot) in moved else ACTIONS[kind]
        action = choose(rng, known) if (kind, slot) in there else "create"
        if action == "create":
            there.add((kind, slot))
        elif action == "delete":
            there.remove((kind, slot))
        if action == "migrate":
            moved.add((kind, slot))
        elif action in ("confirm", "revert", "delete"):
            moved.discard((kind, slot))
        detail = operation_details(rng, kind, action)
        if action in ASIDE and rng.random() < 0.15:
            detail["aside"] = True  # beside whatever else is asked of it at that time
        planned.append(Operation(at, number, kind, slot, action, detail))
    return planned


class FaultPlanner:
    """At most one thing that lasts on a host at a time; kills whenever its power is on."""

    def __init__(self, rng, hosts, controllers, seconds):
        self.rng, self.hosts, self.seconds = rng, hosts, seconds
        self.controllers, self.computes = hosts[:controllers], hosts[:1] + hosts[controllers:]
        self.planned = []

    def add(self, at, lasts, what, host, other=""):
        """Unless something else lasts there."""
        until = min(at + lasts, max(at, self.seconds))
        concerned = {host, other} & set(self.hosts)
        for fault in self.planned:
            meets = concerned & {fault.host, fault.other} and at < fault.until + 2 and until + 2 > fault.at
            if meets and fault.until > fault.at and (lasts or not fault.other):
                return
        self.planned.append(Fault(round(at, 2), round(until, 2), what, host, other))

    def killed(self, host):
        if host not in self.computes:
            return choose(self.rng, FURTHER)
        shared = SHARED if len(self.controllers) > 1 else {}
        return choose(self.rng, {**ANYWHERE, **(FIRST | shared if host == self.hosts[0] else {})})

    def paused(self, host):
        if host not in self.computes:
            return "serve"
        shared = SHARED if len(self.controllers) > 1 else {}
        return choose(self.rng, {**PAUSED, **({"serve": 4, "ovn-nb": 1} | shared if host == self.hosts[0] else {})})

    def draw(self, at):
        rng, host = self.rng, self.rng.choice(self.hosts)
        what = choose(rng, FAULTS | ({"wall": 2} if len(self.controllers) > 1 else {}))
        if what == "kill":
            self.add(at, 0, "kill", host, self.killed(host))
        elif what == "pause":
            whole = rng.random() < 0.15
            self.add(at, rng.choice([3, 5, 18]) * rng.uniform(0.5, 1.2), "pause", host, "" if whole else self.paused(host))
        elif what == "cut":
            self.add(at, rng.choice([3, 5, 25]) * rng.uniform(0.5, 1), "cut", host, rng.choice([h for h in self.hosts if h != host]))
        elif what == "wall":
            self.add(at, rng.choice([3, 5, 25]) * rng.uniform(0.5, 1), "wall", rng.choice(self.controllers), choose(rng, WALLS))
        elif what == "power":
            self.add(at, rng.uniform(0.5, 8), "power", host)
        elif what == "clock":
            self.add(at, rng.uniform(5, 15), "clock", rng.choice(self.controllers), rng.choice(["+5m", "-5m"]))

    def plan(self):
        # The long ones at fixed places of a long run: a process that is silent for a minute, while others decide that its host
        # is down; a controller that is; a host that is lost, and its servers built again elsewhere; a whole host that sleeps.
        if self.seconds >= 240:
            self.add(0.1 * self.seconds, 60, "pause", self.computes[1], "agent")
            self.add(0.22 * self.seconds, 40, "clock", self.controllers[-1], "+5m")
            self.add(0.35 * self.seconds, 60, "pause", self.controllers[0], "serve")
            self.add(0.55 * self.seconds, 45, "evacuate", self.computes[1])
            self.add(0.75 * self.seconds, 60, "pause", self.computes[1])
            if len(self.controllers) > 1:
                self.add(0.2 * self.seconds, 30, "wall", self.controllers[0], "3306")
                self.add(0.47 * self.seconds, 60, "pause", self.controllers[1], "serve")
                self.add(0.66 * self.seconds, 30, "cut", self.controllers[1], self.controllers[0])
        at = self.rng.expovariate(1 / 2.5)
        while at < self.seconds:
            self.draw(at)
            at += self.rng.expovariate(1 / 2.5)
        return sorted(self.planned, key=lambda fault: fault.at)


def make(seed, seconds, count, hosts, controllers=1):
    """(operations, faults) in the order of their times; the same for the same arguments. The first of the hosts are controllers."""
    rng = random.Random(seed)
    return operations(rng, count, seconds), FaultPlanner(random.Random(rng.random()), hosts, controllers, seconds).plan()
