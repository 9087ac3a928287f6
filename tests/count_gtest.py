#!/usr/bin/python3
"""Prints "passed failed skipped" of a GoogleTest JSON report; a program that ended badly without one failed once."""
import json
import sys

try:
    report = json.load(open(sys.argv[1]))
except (OSError, ValueError):
    print(0, 1, 0)
    sys.exit()
passed = failed = skipped = 0
for suite in report["testsuites"]:
    for case in suite["testsuite"]:
        if case.get("failures"):
            failed += 1
        elif case.get("result") == "SKIPPED":
            skipped += 1
        elif case.get("status") == "RUN":
            passed += 1
if int(sys.argv[2]) != 0 and failed == 0:
    failed = 1
print(passed, failed, skipped)
