"""What was asked, answered and broken, in order: a line of JSON each, so that a failure can be read afterwards."""
import json
import threading
import time


class Journal:
    def __init__(self, path):
        self.path, self.start = path, time.monotonic()
        self.lock = threading.Lock()
        self.file = open(path, "a", encoding="utf-8")  # pylint: disable=consider-using-with

    def write(self, event, **more):
        line = json.dumps({"at": round(time.monotonic() - self.start, 3), "event": event, **more})
        with self.lock:
            self.file.write(line + "\n")
            self.file.flush()
