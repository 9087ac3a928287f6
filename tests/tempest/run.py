#!/usr/bin/python3
"""Runs lists of Tempest test ids against a running cloud and counts every id: passed, failed or skipped with its reason.

usage: run.py --cloud STATE_FILE [--setup A|B] [--work DIR] LIST…

LIST is a file of test ids, or the name of one in the folder of lists (../shared/tempest beside the checkout, or lists/
beside this file). STATE_FILE is the JSON that `virga status --json` prints: it names the API, the network namespace and
where the credentials are. An id that Tempest does not know counts as failed: a list is a promise.
"""
import argparse
import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
FOLDERS = [os.path.join(HERE, "lists"), os.path.join(os.path.dirname(ROOT), "shared", "tempest")]


def read_ids(name):
    for path in [name] + [os.path.join(f, name + ext) for f in FOLDERS for ext in ("", ".txt")]:
        if os.path.isfile(path):
            lines = (line.split("#")[0].strip() for line in open(path))
            return [line for line in lines if line]
    sys.exit(f"There is no list {name}: give a file, or a name from {' or '.join(FOLDERS)}.")


class Cloud:
    """The few REST calls that writing tempest.conf needs."""

    def __init__(self, state):
        self.url = state["api"]
        self.namespace = state.get("namespace", "")
        self.admin = state["admin"]
        self.guest_user = state.get("guest_user", "virga")
        self.guest_password = state.get("guest_password", "")
        auth = {"auth": {"identity": {"methods": ["password"], "password": {"user": {
            "name": self.admin["user"], "password": self.admin["password"], "domain": {"name": "Default"}}}},
            "scope": {"project": {"name": self.admin["project"], "domain": {"name": "Default"}}}}}
        reply = urllib.request.urlopen(urllib.request.Request(
            self.url + "/identity/v3/auth/tokens", json.dumps(auth).encode(), {"Content-Type": "application/json"}))
        self.token = reply.headers["X-Subject-Token"]

    def call(self, path, body=None, headers=None):
        data = json.dumps(body).encode() if body is not None else None
        head = {"X-Auth-Token": self.token, "Content-Type": "application/json", **(headers or {})}
        with urllib.request.urlopen(urllib.request.Request(self.url + path, data, head)) as reply:
            return json.load(reply)

    def find(self, path, plural, name):
        return next((x for x in self.call(path)[plural] if x["name"] == name), None)

    def flavor(self, name, ram, disk):
        found = self.find("/compute/v2.1/flavors", "flavors", name)
        if not found:
            found = self.call("/compute/v2.1/flavors", {"flavor": {"name": name, "ram": ram, "disk": disk, "vcpus": 1}})["flavor"]
        return found["id"]

    def second_image(self, first):
        """A second image to rebuild to and list: the same bytes under another name."""
        found = self.find("/image/v2/images?name=tiny-alt", "images", "tiny-alt")
        if found:
            return found["id"]
        old = self.call("/image/v2/images/" + first)
        new = {"name": "tiny-alt", "visibility": "public", "disk_format": old["disk_format"], "container_format": old["container_format"],
               "kernel_id": old["kernel_id"], "ramdisk_id": old["ramdisk_id"]}
        made = self.call("/image/v2/images", new)
        data = urllib.request.urlopen(urllib.request.Request(self.url + f"/image/v2/images/{first}/file", headers={"X-Auth-Token": self.token})).read()
        put = urllib.request.Request(self.url + f"/image/v2/images/{made['id']}/file", data,
                                     {"X-Auth-Token": self.token, "Content-Type": "application/octet-stream"}, method="PUT")
        urllib.request.urlopen(put)
        return made["id"]

    def extensions(self):
        return sorted(e["alias"] for e in self.call("/network/v2.0/extensions")["extensions"])

    def compute_range(self):
        version = next(v for v in self.call("/compute/")["versions"] if v["id"] == "v2.1")
        return version["min_version"], version["version"]


def write_conf(cloud, setup, work, validation=True, compliance=None):
    conf = configparser.RawConfigParser()
    conf.optionxform = str

    def put(section, **options):
        if not conf.has_section(section):
            conf.add_section(section)
        for key, value in options.items():
            conf.set(section, key, str(value))

    image = cloud.find("/image/v2/images?name=tiny", "images", "tiny")["id"]
    public = cloud.find("/network/v2.0/networks?name=public", "networks", "public")["id"]
    low, high = cloud.compute_range()
    conf.set("DEFAULT", "log_file", os.path.join(work, "tempest.log"))
    conf.set("DEFAULT", "debug", "true")
    put("oslo_concurrency", lock_path=os.path.join(work, "locks"))
    put("auth", admin_username=cloud.admin["user"], admin_password=cloud.admin["password"], admin_project_name=cloud.admin["project"],
        admin_domain_name="Default", use_dynamic_credentials="true", create_isolated_networks="true")
    put("identity", uri_v3=cloud.url + "/identity/v3", auth_version="v3", region="RegionOne", default_domain_id="default")
    put("identity-feature-enabled", api_v2="false", api_v2_admin="false", api_v3="true", trust="true", application_credentials="true", project_tags="true",
        domain_specific_drivers="false", security_compliance=str(bool(compliance)).lower(), access_rules="true", external_idp="false")
    if "SSL_CERT_FILE" in os.environ:  # whom this cloud's TLS is to be believed by
        put("identity", ca_certificates_file=os.environ["SSL_CERT_FILE"])
    if compliance:
        failures, seconds, unique = compliance
        put("identity", user_lockout_failure_attempts=failures, user_lockout_duration=seconds, user_unique_last_password_count=unique)
    put("image", build_timeout=120)
    put("image-feature-enabled", api_v2="true", import_image="false")
    put("compute", image_ref=image, image_ref_alt=cloud.second_image(image), flavor_ref=cloud.flavor("m1.tempest", 128, 1),
        flavor_ref_alt=cloud.flavor("m1.tempest-alt", 192, 1), build_timeout=240, build_interval=1, ready_wait=0, fixed_network_name="private",
        min_microversion=low, max_microversion=high, min_compute_nodes=2 if setup == "A" else 1)
    put("compute-feature-enabled", resize="true", pause="true", suspend="false", shelve="false", snapshot="false", rescue="false", live_migration=str(setup == "A").lower(),
        cold_migration=str(setup == "A").lower(), console_output="true", vnc_console="true", serial_console="true", config_drive="true", personality="true", interface_attach="true",
        attach_encrypted_volume="false", metadata_service="true", change_password="false", volume_backed_live_migration="false", volume_multiattach="false",
        swap_volume="false", spice_console="false", block_migration_for_live_migration="true", xenapi_apis="true", scheduler_enabled_filters="all")
    put("network", public_network_id=public, floating_network_name="public", project_networks_reachable="false", build_timeout=120)
    put("network-feature-enabled", ipv6="true", ipv6_subnet_attributes="true", floating_ips="true", port_security="true", api_extensions=",".join(cloud.extensions()))
    put("validation", run_validation=str(validation).lower(), connect_method="floating", auth_method="keypair", image_ssh_user=cloud.guest_user,
        image_ssh_password=cloud.guest_password, network_for_ssh="private", ip_version_for_ssh=4, ping_timeout=120, connect_timeout=60,
        ssh_timeout=300, ssh_shell_prologue="PATH=$$PATH:/sbin:/usr/sbin;")
    put("service_available", cinder="false", glance="true", horizon="false", neutron="true", nova="true", swift="false")
    put("enforce_scope", cinder="false")
    path = os.path.join(work, "etc", "tempest.conf")
    with open(path, "w") as out:
        conf.write(out)
    return path


class Results:
    def __init__(self):
        self.status, self.reason = {}, {}

    def read(self, stream):
        import subunit
        import testtools

        def done(test):
            name = re.sub(r"\[.*\]$", "", test["id"])
            status = test["status"]
            if status in ("exists", "inprogress"):
                return
            details = {k: v.as_text() for k, v in (test["details"] or {}).items() if k in ("reason", "traceback", "pythonlogging:''") or "traceback" in k}
            if name.startswith("setUpClass (") or name.startswith("tearDownClass ("):
                self.of_class(name.split("(")[1].rstrip(")"), status, details)
                return
            self.put(name, status, details)

        result = testtools.StreamToDict(done)
        result.startTestRun()
        subunit.ByteStreamToStreamResult(stream, non_subunit_name="stdout").run(result)
        result.stopTestRun()

    def put(self, name, status, details):
        word = {"success": "passed", "xfail": "passed", "skip": "skipped"}.get(status, "failed")
        if self.status.get(name) == "failed":
            return
        self.status[name] = word
        text = details.get("reason") or next((v for k, v in details.items() if "traceback" in k), "")
        self.reason[name] = text.strip()

    def of_class(self, cls, status, details):
        self.classes = getattr(self, "classes", {})
        self.classes[cls] = (status, details)

    def settle(self, wanted):
        """Ids whose class never set up take the class's fate."""
        for name in wanted:
            if name in self.status:
                continue
            fate = getattr(self, "classes", {}).get(name.rsplit(".", 1)[0])
            if fate:
                self.put(name, *fate)
            else:
                self.status[name], self.reason[name] = "failed", "Tempest did not run it"


def run_tempest(cloud, work, full_ids, concurrency):
    load = os.path.join(work, "load.txt")
    with open(load, "w") as out:
        out.write("\n".join(full_ids) + "\n")
    enter = ["ip", "netns", "exec", cloud.namespace] if cloud.namespace else []
    env = {**os.environ, "OS_TEST_TIMEOUT": "900", "PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "PYTHONWARNINGS": "ignore"}
    out_path = os.path.join(work, "out.subunit")
    with open(out_path, "wb") as out:
        subprocess.run(enter + ["tempest", "run", "--subunit", "--load-list", load, "--concurrency", str(concurrency)], cwd=work, env=env, stdout=out,
                       stderr=subprocess.DEVNULL, check=False)
    return out_path


def main():
    args = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args.add_argument("--cloud", required=True)
    args.add_argument("--setup", choices=["A", "B"], default="B")
    args.add_argument("--work")
    args.add_argument("--concurrency", type=int, default=2)
    args.add_argument("--show", type=int, default=12, help="lines of each failure to print")
    args.add_argument("--no-validation", action="store_true", help="never log in to guests: for quick runs of API tests on a fake hypervisor")
    args.add_argument("--compliance", nargs=3, type=int, metavar=("FAILURES", "SECONDS", "PASSWORDS"),
                      help="the cloud's security_compliance: failures that lock, how long, and passwords that must differ")
    args.add_argument("lists", nargs="+")
    args = args.parse_args()
    wanted = list(dict.fromkeys(i for name in args.lists for i in read_ids(name)))
    cloud = Cloud(json.load(open(args.cloud)))
    work = args.work or tempfile.mkdtemp(prefix="virga-tempest-")
    shutil.rmtree(work, ignore_errors=True)
    shutil.rmtree(os.path.join(os.path.expanduser("~"), ".tempest"), ignore_errors=True)  # its list of work folders
    subprocess.run(["tempest", "init", work], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "PATH": "/usr/bin:/bin"})
    write_conf(cloud, args.setup, work, not args.no_validation, args.compliance)
    listed = subprocess.run(["stestr", "list"], cwd=work, capture_output=True, text=True, env={**os.environ, "PATH": "/usr/bin:/bin"}).stdout.split("\n")
    by_name = {re.sub(r"\[.*\]$", "", line): line for line in listed if line.startswith("tempest")}
    full_ids = [by_name[i] for i in wanted if i in by_name]
    results = Results()
    if full_ids:
        with open(run_tempest(cloud, work, full_ids, args.concurrency), "rb") as stream:
            results.read(stream)
    results.settle([i for i in wanted if i in by_name])
    for name in wanted:
        if name not in by_name:
            results.status[name], results.reason[name] = "failed", "Tempest knows no such test"
    for name in wanted:
        if results.status[name] == "skipped":
            print(f"skipped {name}: {results.reason[name].splitlines()[0] if results.reason[name] else 'no reason given'}")
    for name in wanted:
        if results.status[name] == "failed":
            tail = results.reason[name].splitlines()[-args.show:]
            print(f"FAILED  {name}\n    " + "\n    ".join(tail))
    counts = {w: sum(1 for n in wanted if results.status[n] == w) for w in ("passed", "failed", "skipped")}
    print(f"work folder: {work}")
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped" + (" (run_validation=false: no guest was logged in to)" if args.no_validation else ""))
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
