"""A cloud in a lab (`virga lab`): its API as a client reaches it, and the truth of its hosts from outside.

Wires may be cut and hosts off; the client's socket is opened in the controller's own network namespace, so it reaches the API
however that is cut off from the others. With two controllers each request goes to the next of them, as through a balancer: one
that takes no connection is passed over, a request that was sent is never sent again.
"""
import ctypes
import http.client
import itertools
import json
import os
import socket
import ssl
import subprocess
import sys
from datetime import datetime, timezone

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "crash"))
from database import MariaDb, Sqlite  # noqa: E402
from trial import Api, Refused, wait_for  # noqa: E402

CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)
NB = "unix:/run/virga/ovn/ovnnb_db.sock"
TAKES_NONE_S = 5  # a balancer's patience with a controller that takes no connection


def enter(fd):
    if LIBC.setns(fd, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def connect_inside(namespace, address, timeout):
    """A connection out of a network namespace; the calling thread is back in its own at the end."""
    with open("/proc/thread-self/ns/net", "rb") as own, open(f"/run/netns/{namespace}", "rb") as there:
        enter(there.fileno())
        try:
            return socket.create_connection(address, timeout)
        finally:
            enter(own.fileno())


class InsideConnection(http.client.HTTPSConnection):
    """To a controller, out of its own network namespace."""

    def __init__(self, node, port, **more):
        super().__init__(f"172.31.0.{node.removeprefix('node')}", port, **more)
        self.node = node

    def connect(self):
        plain = connect_inside(f"virga-lab-{self.node}", (self.host, self.port), TAKES_NONE_S)
        self.sock = self._context.wrap_socket(plain, server_hostname=self.host)
        self.sock.settimeout(self.timeout)


class LabCloud(Api):
    """`hosts` are all of the lab's; the first of them are controllers, and `computes` those that have guests."""

    def __init__(self, program, folder, hosts, controllers=1):
        super().__init__(5000)
        self.program, self.folder = os.path.realpath(program), folder
        self.hosts = [f"node{n}" for n in range(1, hosts + 1)]
        self.controllers = self.hosts[:controllers]
        self.computes = self.hosts[:1] + self.hosts[controllers:]
        self.turns = itertools.count()
        self.truth = MariaDb(folder) if controllers > 1 else Sqlite(folder)
        self.packages = os.environ.get("VIRGA_TEST_PACKAGES", "/var/cache/virga-test-packages")
        os.makedirs(self.packages, exist_ok=True)

    # ---- the lab ----

    def lab(self, *arguments, check=True, timeout=240):
        done = subprocess.run([self.program, "lab", "--folder", self.folder, *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=timeout)
        if check and done.returncode != 0:
            raise AssertionError(f"virga lab {' '.join(arguments)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout + ("" if check else done.stderr)

    def on(self, host, *arguments, check=True):
        return self.lab("exec", host, "--", *arguments, check=check)

    def up(self):
        self.lab("up", "--packages", self.packages, "--hosts", str(len(self.hosts)), "--controllers", str(len(self.controllers)), timeout=600)

    def lives(self):
        """What `virga lab status` says of each host: on, and all its services ready."""
        return {h["name"]: h["on"] and h["cloud"] for h in json.loads(self.lab("status", "--json"))["hosts"]}

    # ---- the API ----

    def connection_to(self, node, timeout):
        context = ssl.create_default_context(cafile=f"{self.folder}/{node}/lib/tls/ca.pem")
        return InsideConnection(node, self.port, timeout=timeout, context=context)

    def connection(self, timeout):
        first = next(self.turns)
        for turn in range(len(self.controllers)):
            connection = self.connection_to(self.controllers[(first + turn) % len(self.controllers)], timeout)
            try:
                connection.connect()
                return connection
            except OSError as error:
                connection.close()
                refused = error
        raise refused

    def log_in_as_admin(self):
        self.log_in(json.loads(self.on("node1", "virga", "status", "--json"))["admin"]["password"])

    def wait_hosts(self, seconds=60):
        wait_for("all hosts are up", lambda: sum(
            s["state"] == "up" for s in self.get("/compute/v2.1/os-services?binary=nova-compute")["services"]) == len(self.computes), seconds)

    def clock(self, node):
        """The controller's time, as its answers say, in seconds since 1970."""
        connection = self.connection_to(node, 5)
        try:
            connection.request("GET", "/compute/v2.1/os-availability-zone/detail", headers={"X-Auth-Token": self.token})
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise Refused(answer.status, body.decode(errors="replace"))
        zone = next(z for z in json.loads(body)["availabilityZoneInfo"] if z["zoneName"] == "internal")
        said = zone["hosts"]["virga"]["nova-scheduler"]["updated_at"]  # the controller itself, so it is heard now
        return datetime.fromisoformat(said).replace(tzinfo=timezone.utc).timestamp()

    # ---- the database ----

    def rows(self, sql, *arguments):
        return self.truth.rows(sql, *arguments)

    def query(self, sql):
        return [tuple(row.values()) for row in self.rows(sql)]

    # ---- what is underneath ----

    def domains(self, host):
        """The domains that libvirt there knows: id to "running" or "off"."""
        every = self.on(host, "virga", "virsh", "list", "--all", "--uuid").split()
        running = self.on(host, "virga", "virsh", "list", "--state-running", "--uuid").split()
        return {domain: "running" if domain in running else "off" for domain in every}

    def qemus(self, host):
        """Ids of the servers that have a QEMU process there, whether libvirt knows it or not; one entry a process."""
        found = []
        for line in self.on(host, "ps", "-eo", "args").splitlines():
            words = line.split()
            if words and words[0].endswith("qemu-system-x86_64") and "-uuid" in words:
                found.append(words[words.index("-uuid") + 1])
        return sorted(found)

    def disks(self, host):
        return sorted(os.listdir(f"{self.folder}/{host}/lib/instances"))

    def taps(self, host):
        names = self.on(host, "ovs-vsctl", "--timeout=5", "--db=unix:/run/virga/ovs/db.sock", "list-ports", "br-int").split()
        return sorted(n for n in names if n.startswith("tap"))

    def namespaces(self, host):
        return sorted(line.split()[0] for line in self.on(host, "ip", "netns", "list").splitlines() if line)

    def image_files(self, controller):
        return sorted(n for n in os.listdir(f"{self.folder}/{controller}/lib/control/images") if not n.startswith("."))

    def northbound(self, table, *columns):
        """Rows of OVN's northbound database, as dictionaries; sets and maps in its own notation."""
        said = json.loads(self.on("node1", "ovn-nbctl", "--timeout=10", "--no-leader-only", f"--db={NB}", "--format=json", f"--columns={','.join(columns)}", "list", table))
        return [dict(zip(said["headings"], row)) for row in said["data"]]

    def usage(self):
        """Everything that counts something; only while all hosts are on."""
        used = self.counted()
        for host in self.computes:
            used.update({f"domains of {host}": self.domains(host), f"QEMUs of {host}": self.qemus(host), f"disks of {host}": self.disks(host),
                         f"taps of {host}": self.taps(host), f"namespaces of {host}": self.namespaces(host)})
        for controller in self.controllers:
            used[f"image files of {controller}"] = len(self.image_files(controller))
        used["remains"] = self.query("SELECT COUNT(*) FROM server_remains")[0][0]
        for table in ("Logical_Switch", "Logical_Switch_Port", "Logical_Router", "Logical_Router_Port", "NAT", "Port_Group", "ACL", "DHCP_Options", "Address_Set"):
            used[f"northbound {table}"] = len(self.northbound(table, "_uuid"))
        return used

    # ---- what a user does once ----

    def find(self, path, plural, name):
        return next(x["id"] for x in self.get(path)[plural] if x["name"] == name)

    def set_up(self):
        """A network that reaches the outside, and what stays once there has been a server on each host."""
        self.image = self.find("/image/v2/images", "images", "tiny")
        self.flavor = self.find("/compute/v2.1/flavors", "flavors", "m1.nano")
        self.public = self.find("/network/v2.0/networks", "networks", "public")
        self.network = self.call("POST", "/network/v2.0/networks", {"network": {"name": "net"}})["network"]["id"]
        subnet = {"network_id": self.network, "ip_version": 4, "cidr": "10.9.0.0/24"}
        subnet = self.call("POST", "/network/v2.0/subnets", {"subnet": subnet})["subnet"]["id"]
        router = {"name": "r", "external_gateway_info": {"network_id": self.public}}
        router = self.call("POST", "/network/v2.0/routers", {"router": router})["router"]["id"]
        self.call("PUT", f"/network/v2.0/routers/{router}/add_router_interface", {"subnet_id": subnet})
        self.boot_everywhere()

    def boot_everywhere(self):
        made = [self.boot("first", availability_zone=f"nova:{host}") for host in self.computes]
        for server in made:
            self.wait_status(server, "ACTIVE", seconds=90)
        for server in made:
            self.delete(server)
        for server in made:
            self.wait_gone(server, 60)

    def boot(self, name, **more):
        body = {"name": name, "imageRef": self.image, "flavorRef": self.flavor, "networks": [{"uuid": self.network}], **more}
        return self.call("POST", "/compute/v2.1/servers", {"server": body})["server"]["id"]


__all__ = ["LabCloud", "Refused", "wait_for"]
