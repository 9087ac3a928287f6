#!/usr/bin/python3
"""Two versions side by side: walk_upgrade.py PREVIOUS PROGRAM CONFIG FOLDER. Ends with "N passed, N failed"."""
import json
import os
import re
import signal
import sys

from harness import Bench, equal
from machine import Host, boot, server, states, token
from pair import controller, join_as_second

signal.alarm(300)
previous, program, config, folder = sys.argv[1:5]
first = controller(previous, config, folder + "/status.json")

with first.check("a controller of this version joins one of the previous"):
    second = join_as_second(first, program, folder)
    first.wait("both live", lambda: [c["state"] for c in json.loads(first.virga("controller", "list", "--json"))] == ["up", "up"])
both = (first, second)

with first.check("tokens of one are good on the other"):
    for maker, other in (both, both[::-1]):
        equal(other.servers_with(maker.fresh_token("demo")), 200)

old_host = Host(first, "old-host")
second_bench = Bench(program, config, folder)
second_bench.options = first.options
new_host = Host(second_bench, "new-host")
with first.check("hosts of both versions join, and run servers that either controller was asked for"):
    for host in (old_host, new_host):
        host.join(token(first))
    for one in both:
        equal({n: s for n, s in states(one).items() if n != "first"}, {"old-host": "up", "new-host": "up"})
        for host in ("old-host", "new-host"):
            name = f"{os.path.basename(one.config)}-{host}-{one is first}"
            boot(one, name, host)
            one.wait("ACTIVE", lambda: server(one, name)["status"] == "ACTIVE")

with first.check("the previous version starts again on the schema of this one"):
    first.virga("service", "restart", "serve")
    first.wait("it answers", lambda: first.servers_with(second.fresh_token("demo")) == 200, 30)

print(f"{first.passed} passed, {first.failed} failed")
sys.exit(1 if first.failed else 0)
