#!/usr/bin/python3
"""Walks the demo: walk.py PROGRAM CONFIG FOLDER [FILE for the proven client commands]. Ends with "N passed, N failed"."""
import os
import signal
import sys
import time

import walk_compute
import walk_conventions
import walk_faults
import walk_identity
import walk_identity_extras
import walk_image
import walk_network
import walk_operator
import walk_tls
from harness import Bench

signal.alarm(240)  # a client that asks for ever must not hang the tests
bench = Bench(*sys.argv[1:4])
parts = [walk_identity, walk_identity_extras, walk_image, walk_network, walk_compute]
if not os.environ.get("VIRGA_CONTROLLERS"):  # logs, settings and stopped services are each controller's own
    parts += [walk_faults, walk_conventions, walk_operator, walk_tls]
for part in parts:
    start = time.monotonic()
    part.walk(bench)
    print(f"        {part.__name__}: {time.monotonic() - start:.1f} s", flush=True)
if len(sys.argv) > 4 and bench.failed == 0:
    with open(sys.argv[4], "w") as out:
        out.writelines(command + "\n" for command in sorted(bench.proven))
print(f"{bench.passed} passed, {bench.failed} failed")
sys.exit(1 if bench.failed else 0)
