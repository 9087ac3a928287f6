"""What only a cloud over TLS has. Without TLS there is nothing to walk."""
import glob
import json
import os
import signal
import socket
import ssl
import subprocess
import urllib.error
import urllib.request

from harness import equal, subset


def peer_serial(b):
    """The number of the certificate that a new connection is shown."""
    host, port = b.url.removeprefix("https://").split(":")
    trust = ssl.create_default_context(cafile=b.ca)
    with socket.create_connection((host, int(port)), timeout=10) as plain, trust.wrap_socket(plain, server_hostname=host) as link:
        return link.getpeercert()["serialNumber"]


def addresses(b):
    with b.check("tls: every address that the cloud tells is https"):
        def urls(value):
            if isinstance(value, dict):
                for inner in value.values():
                    yield from urls(inner)
            elif isinstance(value, list):
                for inner in value:
                    yield from urls(inner)
            elif isinstance(value, str) and f"//{b.url.removeprefix('https://')}" in value:
                yield value
        token = b.rest("GET", "/identity/v3/auth/tokens", user="admin", X_Subject_Token=b.token("admin")).json
        told = list(urls(token))
        assert len(told) >= 10, told
        for path in ("/", "/identity", "/identity/v3", "/compute/", "/compute/v2.1", "/image/", "/placement/", "/network/", "/network/v2.0", "/identity/v3/users"):
            told += urls(b.rest("GET", path, user="admin").json)
        wrong = [url for url in told if not url.startswith("https://")]
        assert not wrong, wrong
        challenge = b.rest("GET", "/compute/v2.1/servers", user=None).headers["WWW-Authenticate"]
        subset(["https://"], challenge)
    with b.check("tls: keystonerc and clouds.yaml name the CA"):
        home = os.environ["HOME"]
        for name in ("keystonerc_admin", "keystonerc_demo"):
            subset([f"OS_CACERT='{b.ca}'", f"OS_AUTH_URL={b.url}/v3"], open(f"{home}/{name}").read())
        subset([f"cacert: '{b.ca}'", f"auth_url: {b.url}/v3"], open(home + "/.config/openstack/clouds.yaml").read())
    with b.check("tls: `up --tls` is remembered in the configuration; status says https"):
        subset(["[tls]", "\nenabled = true"], open(b.config).read())
        equal(json.loads(b.virga("status", "--json"))["api"], b.url)
    with b.check("tls: plain HTTP is told what to do; who does not know the CA is not let in"):
        try:
            urllib.request.urlopen(b.url.replace("https", "http") + "/", timeout=10)
            raise AssertionError("plain HTTP was served")
        except urllib.error.HTTPError as error:
            equal(error.code, 400)
            subset([b"https://"], error.read())
        try:
            urllib.request.urlopen(b.url + "/", timeout=10)
            raise AssertionError("an unknown CA was trusted")
        except urllib.error.URLError as error:
            assert isinstance(error.reason, ssl.SSLCertVerificationError), error.reason
    with b.check("tls: 1.1 is refused"):
        host, port = b.url.removeprefix("https://").split(":")
        done = subprocess.run(["openssl", "s_client", "-connect", f"{host}:{port}", "-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
        assert "Cipher is (NONE)" in done.stdout, done.stdout[-500:]


def reload(b):
    tls = os.path.dirname(b.ca)
    with b.check("tls: a renewed certificate is served without a restart, and a connection from before goes on"):
        host, port = b.url.removeprefix("https://").split(":")
        trust = ssl.create_default_context(cafile=b.ca)
        before = peer_serial(b)
        state = json.loads(b.virga("status", "--json"))
        pids = {s["name"]: s.get("pid") for s in state["services"]}
        with socket.create_connection((host, int(port)), timeout=10) as plain, trust.wrap_socket(plain, server_hostname=host) as old:
            os.unlink(tls + "/api.pem")
            os.kill(state["pid"], signal.SIGHUP)  # the supervisor makes a new one
            b.wait("a new certificate", lambda: peer_serial(b) != before)
            old.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            subset(["HTTP/1.1 "], old.recv(4096).decode())
        equal({s["name"]: s.get("pid") for s in json.loads(b.virga("status", "--json"))["services"]}, pids)
    with b.check("tls: a broken file changes nothing"):
        before = peer_serial(b)
        whole = open(tls + "/serve.pem").read()
        open(tls + "/serve.pem", "w").write("broken")
        log = glob.glob(os.path.dirname(os.path.dirname(tls)) + "/log/serve.log")[0]
        b.wait("its refusal in the log", lambda: "keeps its certificate" in open(log).read())
        equal(peer_serial(b), before)
        open(tls + "/serve.pem", "w").write(whole)
    with b.check("tls: files of an operator that cannot be served are refused before anything starts"):
        bad = b.folder + "/badtls.toml"
        text = open(b.config).read().replace("\nenabled = true", f'\nenabled = true\ncertificate = "{b.ca}"\nkey = "{tls}/api.key"', 1)
        open(bad, "w").write(text)
        subset(["is not the certificate's"], b.virga("up", code=1, config=bad))
        equal(b.rest("GET", "/identity/v3", user=None).status, 200)


def walk(b):
    if not b.ca:
        return
    addresses(b)
    reload(b)
