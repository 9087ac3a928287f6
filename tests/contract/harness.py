"""What the contract checks stand on: the stock client in this process, raw REST, and counting."""
import contextlib
import io
import json
import logging
import os
import ssl
import subprocess
import sys
import time
import traceback
import urllib.error
import urllib.parse
import urllib.request

from openstackclient import shell
from openstackclient.common.clientmanager import ClientManager
from openstackclient.volume.client import API_VERSIONS as volume_versions
from osc_lib.clientmanager import ClientCache

_sleep = time.sleep
time.sleep = lambda seconds: _sleep(min(seconds, 0.1))  # the client's --wait looks every 5 s


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.raw = status, headers, body

    @property
    def json(self):
        return json.loads(self.raw)


class ClientError(AssertionError):
    pass


class Bench:
    def __init__(self, program, config, folder):
        self.program, self.config, self.folder = program, config, folder
        self.state = json.load(open(folder + "/status.json"))
        self.url = self.state["api"]
        self.ca = self.state.get("ca_file", "")
        trust = [urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=self.ca))] if self.ca else []
        self.opener = urllib.request.build_opener(_NoRedirect, *trust)
        self.passed = self.failed = 0
        self.proven = set()
        self.options = []  # of the client, before the command
        self.scope = []
        self.tokens = {}
        os.environ["OS_CLIENT_CONFIG_FILE"] = os.environ["HOME"] + "/.config/openstack/clouds.yaml"

    # -- counting
    @contextlib.contextmanager
    def check(self, what):
        try:
            yield
            self.passed += 1
            print("ok      " + what, flush=True)
        except Exception as error:
            self.failed += 1
            print("FAILED  " + what)
            frames = [f for f in traceback.extract_tb(error.__traceback__) if "/contract/" in f.filename]
            for frame in frames[1:]:
                print(f"        {os.path.basename(frame.filename)}:{frame.lineno}: {frame.line}")
            print("        " + (f"{type(error).__name__}: {error}"[:1500]).replace("\n", "\n        "), flush=True)

    @contextlib.contextmanager
    def with_options(self, *options):
        self.options = list(options)
        try:
            yield
        finally:
            self.options = []

    @contextlib.contextmanager
    def scoped(self, *scope):
        """Commands with this scope. A cloud of clouds.yaml names a project, which wins over the command line, so it is not used."""
        self.scope = list(scope)
        try:
            yield
        finally:
            self.scope = []

    def login(self, user):
        if not self.scope:
            return ["--os-cloud", {"admin": "virga-admin", "demo": "virga"}[user]]
        who = self.state[user]
        return [*(["--os-cacert", self.ca] if self.ca else []), "--os-auth-url", self.url + "/identity/v3", "--os-username", who["user"], "--os-password", who["password"],
                "--os-user-domain-id", "default", *self.scope]

    # -- the stock client
    def client(self, user, *words):
        """(code, output, errors) of `openstack WORDS…` as admin or demo."""
        logging.getLogger("").handlers.clear()
        for owner in ClientManager.__mro__:  # the client keeps its session for the process; the next user needs another
            for cache in vars(owner).values():
                if isinstance(cache, ClientCache):
                    cache._handle = None
        for version in "12":  # which the volume client deletes each time it is made
            volume_versions.setdefault(version, "")
        out, err = io.StringIO(), io.StringIO()
        old = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = out, err
        try:
            code = shell.main([*self.login(user), *self.options, *words])
        except SystemExit as ended:
            code = ended.code
        finally:
            sys.stdout, sys.stderr = old
        return code or 0, out.getvalue(), err.getvalue()

    def do(self, user, command, *words):
        """A command that must succeed; its output as text."""
        code, out, err = self.client(user, *command.split(), *words)
        if code:
            raise ClientError(f"openstack {command} {' '.join(words)}: exit {code}: {err.strip()[-800:]} {out.strip()[-300:]}")
        self.proven.add(command)
        return out

    def get(self, user, command, *words):
        """The same with JSON output, parsed."""
        return json.loads(self.do(user, command, *words, "-f", "json"))

    def refused(self, user, command, *words):
        """A command that must fail; what it said."""
        code, out, err = self.client(user, *command.split(), *words)
        assert code, f"openstack {command} {' '.join(words)} should have been refused but said {out[:400]}"
        return err + out

    # -- raw REST
    def token(self, user):
        if user not in self.tokens:
            who = self.state[user]
            auth = {"auth": {"identity": {"methods": ["password"], "password": {"user": {
                "name": who["user"], "password": who["password"], "domain": {"id": "default"}}}},
                "scope": {"project": {"name": who["project"], "domain": {"id": "default"}}}}}
            self.tokens[user] = self.rest("POST", "/identity/v3/auth/tokens", auth, user=None).headers["X-Subject-Token"]
        return self.tokens[user]

    def rest(self, method, path, body=None, user="demo", **headers):
        """Any answer is an answer: the caller looks at its status. Header names: `_` for `-`."""
        head = {name.replace("_", "-"): value for name, value in headers.items()}
        if user:
            head["X-Auth-Token"] = self.token(user)
        data = body
        if body is not None and not isinstance(body, bytes):
            data, _ = json.dumps(body).encode(), head.setdefault("Content-Type", "application/json")
        request = urllib.request.Request(path if path.startswith("http") else self.url + path, data, head, method=method)
        try:
            with self.opener.open(request, timeout=30) as reply:
                return Reply(reply.status, reply.headers, reply.read())
        except urllib.error.HTTPError as error:
            return Reply(error.code, error.headers, error.read())

    # -- virga's own command
    def virga(self, *words, code=0, config=None):
        done = subprocess.run([self.program, "--config", config or self.config, *words], capture_output=True, text=True, timeout=60)
        assert done.returncode == code, f"virga {' '.join(words)}: exit {done.returncode}: {done.stdout[-600:]} {done.stderr[-600:]}"
        return done.stdout + done.stderr

    def wait(self, what, condition, seconds=20):
        end = time.monotonic() + seconds
        while not (value := condition()):
            assert time.monotonic() < end, f"{what} did not come true in {seconds} s"
            time.sleep(0.05)
        return value


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def equal(got, wanted):
    assert got == wanted, f"{got!r} is not {wanted!r}"


def subset(wanted, of):
    missing = [x for x in wanted if x not in of]
    assert not missing, f"{missing!r} not in {of!r}"[:1200]
