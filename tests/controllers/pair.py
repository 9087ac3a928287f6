"""What the tests of several controllers share."""
import glob
import json
import os
import re
import signal
import subprocess

from harness import Bench, equal


class Controller(Bench):
    """One of them, asked directly."""

    def __init__(self, program, config, status):
        super().__init__(program, config, os.path.dirname(status))
        self.options = ["--os-compute-api-version", "2.53"]  # older ones cannot ask for no network

    def fresh_token(self, user):
        self.tokens.pop(user, None)
        return self.token(user)

    def image(self, name):
        return self.rest("GET", f"/image/v2/images?name={name}", user="admin").json["images"][0]["id"]

    def flavor(self, name):
        return next(f["id"] for f in self.rest("GET", "/compute/v2.1/flavors", user="admin").json["flavors"] if f["name"] == name)

    def servers_with(self, token):
        """What a token is good for."""
        return self.rest("GET", "/compute/v2.1/servers", user=None, X_Auth_Token=token).status

    def kill_all_of_it(self):
        """kill -9 of serve, and of the supervisor, which would start it again."""
        pid = next(s["pid"] for s in json.loads(self.virga("status", "--json"))["services"] if s["name"] == "serve")
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            words = open(path, "rb").read().split(b"\0")
            if b"supervisor" in words and self.config.encode() in words:
                os.kill(int(path.split("/")[2]), signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)

    def log(self, name):
        return "".join(open(path).read() for path in glob.glob(f"{os.path.dirname(self.config)}/log/{name}.log"))


controller = Controller


def join(program, folder, url, text, **environment):
    done = subprocess.run([program, "--config", f"{folder}/second/virga.toml", "join", "--controller", url, "--token", text, "--address", "127.0.0.1"],
                          env={**os.environ, "HOME": folder + "/second", **environment}, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


def controller_token(first):
    line = first.virga("token", "create", "--controller").strip().splitlines()[-1]
    return re.search(r"virga join --controller (\S+) --token (\S+)", line).groups()


def second_controller(first, program, folder):
    """The one that has joined, asked directly, with the first one's users."""
    status = subprocess.run([program, "--config", f"{folder}/second/virga.toml", "status", "--json"], capture_output=True, text=True, timeout=60)
    state = {**json.loads(status.stdout), "admin": first.state["admin"], "demo": first.state["demo"]}
    json.dump(state, open(f"{folder}/second/status.json", "w"))
    return Controller(program, f"{folder}/second/virga.toml", f"{folder}/second/status.json")


def join_as_second(first, program, folder):
    code, said = join(program, folder, *controller_token(first))
    equal((code, said if code else ""), (0, ""))
    return second_controller(first, program, folder)
