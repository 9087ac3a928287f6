"""A cloud for crash tests: `virga serve` and `virga agent` as plain processes, which die where they are told to.

The hypervisor is the fake one with real files under it (VIRGA_FAKE_FILES), so that disks can be left over, too.
"""
import http.client
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
import urllib.parse
from contextlib import closing

KILLED = 137
POWERS = {"1": "shutoff", "2": "running", "3": "paused", "4": "crashed"}


class Refused(Exception):
    def __init__(self, status, body):
        super().__init__(f"HTTP {status}: {body[:400]}")
        self.status = status


def wait_for(what, condition, seconds=15):
    """Until condition() gives something true, which is returned; it may fail meanwhile."""
    end, last = time.monotonic() + seconds, None
    while time.monotonic() < end:
        try:
            value = condition()
            if value:
                return value
            last = value
        except (OSError, http.client.HTTPException, Refused) as error:
            last = error
        time.sleep(0.03)
    raise AssertionError(f"{what}: not within {seconds} s; last: {last!r}")


class Api:
    """Requests as the administrator, and what counts something."""

    database_url = ""  # of MariaDB; else SQLite in the file that database() names

    def __init__(self, port):
        self.port, self.token, self.project = port, "", ""

    def connection(self, timeout):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def call(self, method, path, body=None, headers=None, raw=False):
        connection = self.connection(20)
        try:
            sent = {"X-Auth-Token": self.token, "X-OpenStack-Nova-API-Version": "2.60", "OpenStack-API-Version": "placement 1.30"}
            sent.update(headers or {})
            if body is not None and not isinstance(body, bytes):
                body, sent["Content-Type"] = json.dumps(body), "application/json"
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            content = response.read()
            if response.status >= 400:
                raise Refused(response.status, content.decode(errors="replace"))
            if raw:
                return response, content
            return json.loads(content) if content else {}
        finally:
            connection.close()

    def get(self, path):
        return self.call("GET", path)

    def log_in(self, password="secret"):
        user = {"name": "admin", "domain": {"name": "Default"}, "password": password}
        scope = {"project": {"name": "admin", "domain": {"name": "Default"}}}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
        response, content = self.call("POST", "/identity/v3/auth/tokens", body, raw=True)
        self.token = response.getheader("X-Subject-Token")
        self.project = json.loads(content)["token"]["project"]["id"]

    def server(self, server):
        """The server as the API shows it; None once it is gone."""
        try:
            return self.get(f"/compute/v2.1/servers/{server}")["server"]
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    def servers(self):
        return self.get("/compute/v2.1/servers/detail")["servers"]

    def act(self, server, action):
        return self.call("POST", f"/compute/v2.1/servers/{server}/action", action)

    def delete(self, server):
        return self.call("DELETE", f"/compute/v2.1/servers/{server}")

    def wait_status(self, server, *statuses, seconds=15):
        return wait_for(f"server {server} becomes {' or '.join(statuses)}",
                        lambda: (s := self.server(server)) and s["status"] in statuses and s["OS-EXT-STS:task_state"] is None and s, seconds)

    def wait_gone(self, server, seconds=15):
        wait_for(f"server {server} is gone", lambda: self.server(server) is None, seconds)

    def counted(self):
        """What the services say is in use."""
        limits = self.get("/compute/v2.1/limits")["limits"]["absolute"]
        used = {name: limits[name] for name in ("totalInstancesUsed", "totalCoresUsed", "totalRAMUsed")}
        for provider in self.get("/placement/resource_providers")["resource_providers"]:
            for name, amount in self.get(f"/placement/resource_providers/{provider['uuid']}/usages")["usages"].items():
                used["placement " + name] = used.get("placement " + name, 0) + amount
        quota = self.get(f"/network/v2.0/quotas/{self.project}/details")["quota"]
        used.update({"network " + name: quota[name]["used"] for name in quota})
        used["ports"] = len(self.get("/network/v2.0/ports")["ports"])
        used["operations running"] = self.query("SELECT COUNT(*) FROM operations WHERE state = 'running'")[0][0]
        used["tombstones"] = self.query("SELECT COUNT(*) FROM servers WHERE tombstone = 1")[0][0]
        return used

    def nothing_left(self, before, seconds=5):
        """After everything is deleted: as it was."""
        differing = {}

        def as_before():
            now = self.usage()
            differing.clear()
            differing.update({k: (before.get(k), now.get(k)) for k in {*now, *before} if now.get(k) != before.get(k)})
            return not differing

        try:
            wait_for("everything is as before", as_before, seconds)
        except AssertionError:
            raise AssertionError(f"left over (before, now): {differing}") from None

    # ---- the database ----

    def query(self, sql):
        """Rows of numbers."""
        if not self.database_url:
            with closing(sqlite3.connect(f"file:{self.database()}?mode=ro", uri=True)) as connection:
                return connection.execute(sql).fetchall()
        at = urllib.parse.urlparse(self.database_url)
        out = subprocess.run(["mariadb", "--no-defaults", "-h", at.hostname, "-P", str(at.port), "-u", at.username, "-N", "-B", "-e", sql, at.path[1:]],
                             check=True, capture_output=True, text=True, env={**os.environ, "MYSQL_PWD": urllib.parse.unquote(at.password)}).stdout
        return [tuple(int(cell) for cell in line.split("\t")) for line in out.splitlines()]

    def back_up(self, path):
        if os.path.exists(path):
            os.unlink(path)
        with closing(sqlite3.connect(f"file:{self.database()}?mode=ro", uri=True)) as source, closing(sqlite3.connect(path)) as copy:
            source.backup(copy)

    def put_database(self, path):
        """As docs/operations.md says; while serve is stopped."""
        owner = os.stat(self.database())
        for suffix in ("", "-wal", "-shm"):
            if os.path.exists(self.database() + suffix):
                os.unlink(self.database() + suffix)
        shutil.copy(path, self.database())
        os.chown(self.database(), owner.st_uid, owner.st_gid)


class Process:
    """One role of the cloud; start, kill, and see how it died."""

    def __init__(self, trial, role):
        self.trial, self.role, self.child = trial, role, None
        self.log = f"{trial.dir}/{role}.log"

    def start(self, kill_point=""):
        environment = dict(os.environ, VIRGA_FAKE_FILES="1")
        if kill_point:
            environment["VIRGA_KILL_POINT"] = kill_point
        with open(self.log, "ab") as log:
            log.write(f"--- start, kill point: {kill_point or 'none'}\n".encode())
            log.flush()
            self.child = subprocess.Popen([self.trial.program, "--config", self.trial.config, self.role],
                                          stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)

    def wait_killed(self, seconds=15):
        try:
            status = self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.role} did not reach its kill point") from None
        assert status == KILLED, f"{self.role} ended with {status} instead of {KILLED}"
        self.child = None

    def kill(self, how=signal.SIGKILL):
        if self.child is None:
            return
        self.child.send_signal(how)
        try:
            self.child.wait(15)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            raise AssertionError(f"{self.role} did not end on SIGTERM") from None
        finally:
            self.child = None

    def says(self, text, since=0):
        with open(self.log, "rb") as log:
            log.seek(since)
            return text.encode() in log.read()

    def log_size(self):
        return os.path.getsize(self.log)


class Trial(Api):
    def __init__(self, program, port):
        super().__init__(port)
        self.program = os.path.realpath(program)
        self.dir = tempfile.mkdtemp(prefix="virga-crash-test.")
        os.chmod(self.dir, 0o711)
        self.config = f"{self.dir}/virga.toml"
        self.database_url = os.environ.get("CRASH_DATABASE_URL", "")
        database = f'[database]\nurl = "{self.database_url}"\n' if self.database_url else ""
        with open(self.config, "w", encoding="utf-8") as f:
            f.write(f"""[cloud]
state_dir = "{self.dir}/state"
run_dir = "{self.dir}/run"
log_dir = "{self.dir}/log"
api_port = {port}
{database}[compute]
hypervisor = "fake"
[identity]
bcrypt_cost = 6
admin_password = "secret"
[quota]
instances = 1000
cores = 1000
ram_mb = 1000000
""")
        self.state = f"{self.dir}/state"
        self.serve, self.agent = Process(self, "serve"), Process(self, "agent")

    def end(self, keep):
        self.agent.kill()
        self.serve.kill()
        if keep:
            print(f"note kept: {self.dir}")
        else:
            shutil.rmtree(self.dir, ignore_errors=True)

    # ---- processes ----

    def start_serve(self, kill_point=""):
        self.serve.start(kill_point)
        wait_for("serve answers", lambda: self.call("GET", "/identity/v3"))

    def start_agent(self, kill_point="", connected=True):
        self.agent.start(kill_point)
        if connected:
            self.wait_host()

    def restart(self, role, kill_point=""):
        {"serve": self.serve, "agent": self.agent}[role].kill()
        self.start_agent(kill_point) if role == "agent" else self.start_serve(kill_point)
        self.wait_host()

    def restart_all(self):
        self.agent.kill()
        self.serve.kill()
        self.start_serve()
        self.start_agent()

    def wait_host(self):
        """The agent is connected to the controller that runs now: it has sent its first full report."""
        wait_for("the agent is connected", lambda: os.path.exists(f"{self.state}/agent/host_id") and
                 any(s["state"] == "up" and s["host"] != "virga" for s in self.get("/compute/v2.1/os-services")["services"]))

    # ---- what is underneath ----

    def domains(self):
        """The fake hypervisor's domains: id to power."""
        found = {}
        path = f"{self.state}/agent/fake-domains.json"
        if os.path.exists(path):
            with open(path, encoding="utf-8") as f:
                for line in f:
                    server, power, _generation, _name = line.split(" ", 3)
                    found[server] = POWERS.get(power)
        return {server: power for server, power in found.items() if power}

    def disks(self):
        return sorted(os.listdir(f"{self.state}/instances"))

    def disk_files(self, server):
        """How many root disks the server has; each resize makes another."""
        return sum(1 for name in os.listdir(f"{self.state}/instances/{server}") if name == "disk" or name.startswith("disk.") and name[5:].isdigit())

    def database(self):
        return f"{self.state}/control/virga.db"

    def image_files(self):
        return sorted(os.listdir(f"{self.state}/control/images"))

    def usage(self):
        """Everything that counts something, to be compared before and after."""
        used = self.counted()
        used["domains"], used["disks"] = self.domains(), self.disks()
        used["image files"] = len(self.image_files())
        return used
