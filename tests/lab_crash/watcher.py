"""What must hold at every moment, not only in the end: no server has two QEMU processes, on whichever hosts."""
import os
import threading


def running_guests():
    """Ids of the servers that have a QEMU process on this machine, one entry a process: [(id, pid)]."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                words = f.read().decode(errors="replace").split("\0")
        except OSError:
            continue
        if words[0].endswith("qemu-system-x86_64") and "-uuid" in words:
            found.append((words[words.index("-uuid") + 1], int(pid)))
    return found


class Watcher:
    def __init__(self, journal, every_s=0.5):
        self.journal, self.every_s = journal, every_s
        self.looks, self.twice = 0, set()
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()

    def run(self):
        before = set()
        while not self.stop.wait(self.every_s):
            guests = running_guests()
            ids = [server for server, _ in guests]
            # Seen twice in a row: a process that is being replaced is not two guests.
            now = {server for server in ids if ids.count(server) > 1}
            for server in (now & before) - self.twice:
                self.journal.write("two guests", server=server, pids=[pid for s, pid in guests if s == server])
            self.twice |= now & before
            before, self.looks = now, self.looks + 1
