"""Brings the planned faults about with `virga lab`, and mends them."""
import glob
import http.client
import threading
import time

from lab_cloud import Refused
from plan import WALLS

# Debian's libfaketime: clocks of another time for the processes that load it (time namespaces have no such clock).
FAKETIME = next(iter(glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")), "")


WALL = """table inet wall{port} {{
  chain out {{ type filter hook output priority 0; ip daddr 172.31.0.1 tcp dport {port} drop; }}
  chain in {{ type filter hook input priority 0; ip saddr 172.31.0.1 tcp sport {port} drop; }}
}}"""


class Injector:
    """Each fault in a thread of its own; what it did is written to the journal."""

    def __init__(self, cloud, faults, journal):
        self.cloud, self.faults, self.journal = cloud, faults, journal
        self.threads, self.counts, self.failures = [], {}, []
        self.guests_died = []  # hosts where guests were killed: one that is off was not switched off by a user

    def run(self, start):
        for fault in self.faults:
            time.sleep(max(0, start + fault.at - time.monotonic()))
            thread = threading.Thread(target=self.perform, args=(fault, start))
            thread.start()
            self.threads.append(thread)

    def join(self):
        for thread in self.threads:
            thread.join()

    def perform(self, fault, start):
        self.counts[fault.what] = self.counts.get(fault.what, 0) + 1
        self.journal.write("fault", what=fault.what, host=fault.host, other=fault.other)
        try:
            said = getattr(self, fault.what)(fault)
            if fault.until > fault.at:
                time.sleep(max(0, start + fault.until - time.monotonic()))
                said += getattr(self, "mend_" + fault.what)(fault)
        except Exception as error:  # told in the end; the others go on
            said = repr(error)
            self.failures.append(f"{fault}: {error}")
        self.journal.write("fault done", what=fault.what, host=fault.host, other=fault.other, said=said.strip()[-300:])

    def lab(self, *arguments):
        """Refusals are part of it: nothing of that name runs, the host is off, another command is at work."""
        return self.cloud.lab(*[a for a in arguments if a], check=False)

    def kill(self, fault):
        said = self.lab("kill", fault.host, fault.other)
        if fault.other.startswith("qemu"):
            self.guests_died.append(fault.host)
        if fault.other in ("supervisor", "mariadbd"):  # systemd would start it
            said += self.start(fault.host)
        return said

    def pause(self, fault):
        return self.lab("pause", fault.host, fault.other)

    def mend_pause(self, fault):
        return self.lab("resume", fault.host)

    def cut(self, fault):
        return self.lab("cut", fault.host, fault.other)

    def mend_cut(self, fault):
        return self.lab("heal", fault.host, fault.other)

    def wall(self, fault):
        """Packets to a port of node1 get lost, those to itself too: a controller without its database, or without NATS."""
        return self.cloud.on(fault.host, "nft", WALL.format(port=fault.other), check=False)

    def mend_wall(self, fault):
        return self.cloud.on(fault.host, "nft", "delete", "table", "inet", f"wall{fault.other}", check=False)

    def power(self, fault):
        self.guests_died.append(fault.host)
        return self.lab("kill", fault.host)

    def start(self, host):
        """While another command changes the lab, or a wire to what it needs is cut, it is refused or ends without success."""
        said, end = "", time.monotonic() + 60
        while time.monotonic() < end:
            said = self.lab("start", host)
            if "virga:" not in said and "rror" not in said:
                return said
            time.sleep(1)
        return said

    def mend_power(self, fault):
        return self.start(fault.host)

    def clock(self, fault):
        """The controller's clock jumps: a supervisor of that environment starts serve anew; its monotonic clock stays right."""
        environment = [f"LD_PRELOAD={FAKETIME}", f"FAKETIME={fault.other}", "FAKETIME_DONT_FAKE_MONOTONIC=1"]
        assert FAKETIME, "the package libfaketime is missing"
        said = self.lab("kill", fault.host, "supervisor")
        said += self.cloud.on(fault.host, "env", *environment, "virga", "up", check=False)
        said += self.lab("kill", fault.host, "serve")
        return said + self.clock_is_wrong(fault.host, 300 if fault.other == "+5m" else -300)

    def clock_is_wrong(self, host, wanted_s):
        """Seen in the answers, or the fault proves nothing; unless another fault keeps serve from answering."""
        end = time.monotonic() + 4
        while time.monotonic() < end:
            try:
                off = self.cloud.clock(host) - time.time()
            except (OSError, http.client.HTTPException, Refused):
                time.sleep(0.2)
                continue
            assert abs(off - wanted_s) < 10, f"the controller's clock is {off:.0f} s off, not {wanted_s}"
            return f" the clock is {off:.0f} s off"
        return " nothing answers"

    def mend_clock(self, fault):
        said = self.lab("kill", fault.host, "supervisor") + self.start(fault.host)
        return said + self.lab("kill", fault.host, "serve") + self.lab("kill", fault.host, "agent")

    def evacuate(self, fault):
        """A host that is off, as its operator says; its servers are built again on others."""
        said = self.power(fault)
        time.sleep(20)  # until it counts as down
        return said + self.ask_a_controller("host", "evacuate", fault.host, "--fenced")

    def mend_evacuate(self, fault):
        said = self.start(fault.host)
        return said + self.ask_a_controller("host", "maintenance", fault.host, "--off")

    def ask_a_controller(self, *words):
        said = ""
        for controller in self.cloud.controllers:
            said += self.cloud.on(controller, "virga", *words, check=False)
            if "virga:" not in said:
                break
        return said

    def mend_everything(self):
        """Whatever was not mended, is now."""
        for host in self.cloud.hosts:
            self.lab("heal", host)
            self.lab("resume", host)
            for port in WALLS:
                self.cloud.on(host, "nft", "delete", "table", "inet", f"wall{port}", check=False)
        for host in self.cloud.hosts:
            self.start(host)
        self.cloud.up()
