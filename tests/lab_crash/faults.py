"""Brings the planned faults about with `virga lab`, and mends them."""
import glob
import http.client
import threading
import time

from lab_cloud import Refused

# Debian's libfaketime: clocks of another time for the processes that load it (time namespaces have no such clock).
FAKETIME = next(iter(glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")), "")


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
        if fault.other == "supervisor":  # systemd would start it
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

    def power(self, fault):
        self.guests_died.append(fault.host)
        return self.lab("kill", fault.host)

    def start(self, host):
        """While another command changes the lab, or a wire to the controller is cut, it is refused or ends without success."""
        said = ""
        for _ in range(4):
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
        return said + self.clock_is_wrong(300 if fault.other == "+5m" else -300)

    def clock_is_wrong(self, wanted_s):
        """Seen in the answers, or the fault proves nothing; unless another fault keeps serve from answering."""
        end = time.monotonic() + 4
        while time.monotonic() < end:
            try:
                off = self.cloud.clock() - time.time()
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
        return said + self.cloud.on(self.cloud.hosts[0], "virga", "host", "evacuate", fault.host, "--fenced", check=False)

    def mend_evacuate(self, fault):
        said = self.start(fault.host)
        return said + self.cloud.on(self.cloud.hosts[0], "virga", "host", "maintenance", fault.host, "--off", check=False)

    def mend_everything(self):
        """Whatever was not mended, is now."""
        for host in self.cloud.hosts:
            self.lab("heal", host)
            self.lab("resume", host)
        for host in self.cloud.hosts:
            self.start(host)
        self.cloud.up()
