"""What must hold at every moment, not only in the end: no server runs twice, on whichever hosts.

A server that moves as it runs has two QEMU processes for a while: one made with -incoming, which executes nothing until the
other has stopped. So two count as one guest if one of them was made so, unless both execute.
"""
import os
import threading
from dataclasses import dataclass

# Processor time between two looks of a guest that executes (under emulation an idle one was seen to have 3000 and more), and what
# the threads of one that only waits may have had in all: being made took 1000, in a few strokes of 500.
EXECUTES_US, MADE_US = 1000, 20000


@dataclass(frozen=True)
class Guest:
    server: str
    pid: int
    incoming: bool


def running_guests():
    """The QEMU processes on this machine that are servers'."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                words = f.read().decode(errors="replace").split("\0")
        except OSError:
            continue
        if words[0].endswith("qemu-system-x86_64") and "-uuid" in words:
            found.append(Guest(words[words.index("-uuid") + 1], int(pid), "-incoming" in words))
    return found


def executed_us(guest):
    """Processor time of the threads that execute the guest, until now; 0 if it is gone."""
    total = 0
    try:
        for task in os.listdir(f"/proc/{guest.pid}/task"):
            with open(f"/proc/{guest.pid}/task/{task}/comm", encoding="ascii") as f:
                if not f.read().startswith("CPU "):
                    continue
            with open(f"/proc/{guest.pid}/task/{task}/schedstat", encoding="ascii") as f:
                total += int(f.read().split()[0]) // 1000
    except OSError:
        pass
    return total


class Watcher:
    def __init__(self, journal, every_s=0.5):
        self.journal, self.every_s = journal, every_s
        self.looks, self.twice = 0, set()
        self.executed = {}  # of those whose server has another: what they had executed at the last look
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()

    def running_twice(self):
        """Servers that have two guests now. Two that both executed since the last look may have done so one after the other."""
        guests = running_guests()
        several = [g for g in guests if sum(o.server == g.server for o in guests) > 1]
        now = {g: executed_us(g) for g in several}
        moving = {g.server for g in several if g.incoming}
        lately = {g: now[g] - self.executed.get(g, now[g]) for g in several}
        active = [g for g in several if g.server not in moving or (lately[g] > EXECUTES_US and (not g.incoming or now[g] > MADE_US))]
        self.executed = now
        for server in moving:
            self.journal.write("a move", server=server, us={g.pid: [lately[g], "incoming" if g.incoming else ""] for g in several if g.server == server})
        ids = [g.server for g in active]
        return {server for server in ids if ids.count(server) > 1}, guests

    def run(self):
        before = set()
        while not self.stop.wait(self.every_s):
            # Seen twice in a row: a process that is being replaced is not two guests, nor is one that hands over to another.
            now, guests = self.running_twice()
            for server in (now & before) - self.twice:
                self.journal.write("two guests", server=server, pids=[g.pid for g in guests if g.server == server])
            self.twice |= now & before
            before, self.looks = now, self.looks + 1
