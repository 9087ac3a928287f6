#!/usr/bin/python3
"""Requests through a balancer while a database node dies: walk_galera.py PROGRAM CONFIG FOLDER PORT PID. Ends with "N passed, N failed"."""
import os
import signal
import sys
import threading
import time

from harness import Bench, equal

signal.alarm(300)
program, config, folder, port, pid = sys.argv[1:6]
bench = Bench(program, config, folder)
bench.url = bench.url.rsplit(":", 1)[0] + ":" + port


class Writer(threading.Thread):
    """Makes networks and notes which were acknowledged."""

    def __init__(self, number):
        super().__init__()
        self.number, self.made, self.refused, self.unknown, self.slowest = number, [], 0, 0, 0.0
        self.over = False

    def run(self):
        i = 0
        while not self.over:
            i += 1
            name = f"n{self.number}-{i}"
            began = time.monotonic()
            try:
                reply = bench.rest("POST", "/network/v2.0/networks", {"network": {"name": name}}, user="admin")
            except OSError:
                self.unknown += 1
                continue
            self.slowest = max(self.slowest, time.monotonic() - began)
            if reply.status == 201:
                self.made.append(reply.json["network"]["id"])
            else:
                assert reply.status in (409, 503, 401), (reply.status, reply.raw[:300])
                self.refused += 1
                time.sleep(0.1)


with bench.check("both controllers answer behind the balancer"):
    for _ in range(6):
        equal(bench.rest("GET", "/identity/v3", user=None).status, 200)
    equal(bench.rest("GET", "/network/v2.0/networks", user="admin").status, 200)
    bench.rest("PUT", "/network/v2.0/quotas/" + bench.rest("GET", "/identity/v3/projects?name=admin", user="admin").json["projects"][0]["id"],
               {"quota": {"network": -1}}, user="admin")

with bench.check("a database node is killed under load: nothing that was acknowledged is lost, and service goes on"):
    writers = [Writer(i) for i in range(4)]
    for w in writers:
        w.start()
    bench.wait("some are made", lambda: sum(len(w.made) for w in writers) >= 40, 60)
    before = sum(len(w.made) for w in writers)
    os.kill(int(pid), signal.SIGKILL)
    began = time.monotonic()
    bench.wait("more are made", lambda: sum(len(w.made) for w in writers) >= before + 40, 90)
    took = time.monotonic() - began
    for w in writers:
        w.over = True
    for w in writers:
        w.join()
    made = {n for w in writers for n in w.made}
    there = {n["id"] for n in bench.rest("GET", "/network/v2.0/networks", user="admin").json["networks"]}
    equal(made - there, set())
    print(f"note    {len(made)} acknowledged ({before} before the kill), {sum(w.refused for w in writers)} refused, {sum(w.unknown for w in writers)} cut off, "
          f"40 more after {took:.1f} s, slowest request {max(w.slowest for w in writers):.1f} s")

print(f"{bench.passed} passed, {bench.failed} failed")
sys.exit(1 if bench.failed else 0)
