"""The measuring half of bench/guest_boot, on a cloud that runs.    guest_boot.py CLOUD_FOLDER BUILD_FOLDER ROUNDS"""
import http.client
import json
import re
import shutil
import statistics
import subprocess
import sys
import time
import urllib.parse
import uuid

FOLDER, BUILD, ROUNDS = sys.argv[1], sys.argv[2], int(sys.argv[3])
STATE = json.load(open(f"{FOLDER}/status.json"))
VIRGA = [f"{BUILD}/virga", "--config", f"{FOLDER}/virga.toml"]
POLL_S = 0.005


class Api:
    """One keep-alive connection as the cloud's administrator."""

    def __init__(self):
        self.http = http.client.HTTPConnection(urllib.parse.urlsplit(STATE["api"]).netloc)
        admin = STATE["admin"]
        domain = {"id": "default"}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": {
            "name": admin["user"], "password": admin["password"], "domain": domain}}},
            "scope": {"project": {"name": admin["project"], "domain": domain}}}}
        self.token = ""
        self.token = self.raw("POST", "/identity/v3/auth/tokens", body)[0].headers["X-Subject-Token"]

    def raw(self, method, path, body=None):
        self.http.request(method, path, json.dumps(body) if body else None,
                          {"X-Auth-Token": self.token, "Content-Type": "application/json"})
        answer = self.http.getresponse()
        data = answer.read()
        if answer.status >= 400 and answer.status != 404:
            sys.exit(f"{method} {path}: {answer.status} {data!r}")
        return answer, json.loads(data) if data else None

    def ask(self, method, path, body=None):
        return self.raw(method, path, body)[1]

    def id_of(self, path, plural, name):
        return next(x["id"] for x in self.ask("GET", path)[plural] if x["name"] == name)


def boot(api, body):
    """Id of a new server, and the milliseconds until it was accepted and ACTIVE."""
    begin = time.monotonic()
    server = api.ask("POST", "/compute/v2.1/servers", body)["server"]["id"]
    accepted = time.monotonic()
    while True:
        shown = api.ask("GET", f"/compute/v2.1/servers/{server}")["server"]
        if shown["status"] == "ACTIVE":
            return server, (accepted - begin) * 1000, (time.monotonic() - begin) * 1000
        if shown["status"] != "BUILD":
            sys.exit(f"the server became {shown['status']}: {shown.get('fault')}")
        time.sleep(POLL_S)


def virsh(*words):
    return subprocess.run(VIRGA + ["virsh", *words], check=True, capture_output=True, text=True).stdout


def bare_copy(server):
    """The server's domain under another name, with a copy of its disk, so that both may be there in turn."""
    xml = virsh("dumpxml", "--inactive", server)
    name = re.search(r"<name>(.*?)</name>", xml).group(1)
    for i, (disk, kind) in enumerate(re.findall(r"<source file='([^']+)'[^>]*/>\s*(?:<backingStore/>\s*)?<target dev='(\w)", xml)):
        copy = f"{FOLDER}/bare-{i}"
        shutil.copyfile(disk, copy)
        shutil.chown(copy, "libvirt-qemu", "libvirt-qemu")
        xml = xml.replace(f"'{disk}'", f"'{copy}'")
    xml = xml.replace(f"<name>{name}</name>", "<name>bare</name>").replace(server, str(uuid.uuid4()))
    xml = re.sub(r"<target dev='tap[^']*'/>", "<target dev='tapbare'/>", xml)
    folder = FOLDER + "/bare"
    subprocess.run(["install", "-d", "-o", "libvirt-qemu", folder], check=True)
    xml = re.sub(r"(path|file)='[^']*/((?:serial|console)[^'/]*)'", rf"\1='{folder}/\2'", xml)
    with open(f"{FOLDER}/bare.xml", "w") as f:
        f.write(xml)
    return f"{FOLDER}/bare.xml"


def remove(api, server):
    api.ask("DELETE", f"/compute/v2.1/servers/{server}")
    while api.raw("GET", f"/compute/v2.1/servers/{server}")[0].status != 404:
        time.sleep(0.05)


def main():
    api = Api()
    body = {"server": {"name": "bench", "imageRef": api.id_of("/image/v2/images", "images", "tiny"),
                       "flavorRef": api.id_of("/compute/v2.1/flavors", "flavors", "m1.nano"),
                       "networks": [{"uuid": api.id_of("/network/v2.0/networks", "networks", "public")}]}}
    uri = virsh("uri").strip()
    ours, accepted, bare = [], [], []
    for i in range(ROUNDS + 1):
        server, at_once, active = boot(api, body)
        xml = bare_copy(server)
        remove(api, server)
        out = subprocess.run([f"{BUILD}/bench/libvirt_baseline", uri, xml, "1"], check=True, stdout=subprocess.PIPE, text=True).stdout
        if i == 0:
            continue  # fills the image cache and the page cache
        ours.append(active)
        accepted.append(at_once)
        bare.append(json.loads(out)["define_and_start"])
    added = [a - b for a, b in zip(ours, bare)]
    print("| what | median | min | max |\n|---|---|---|---|")
    for name, values in (("POST /servers answered", accepted), ("POST /servers to ACTIVE, one port", ours),
                         ("bare define + start of the same domain", bare), ("what Virga adds (pair by pair)", added)):
        print(f"| {name} | {statistics.median(values):.0f} ms | {min(values):.0f} ms | {max(values):.0f} ms |")


main()
