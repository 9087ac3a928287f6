"""A cloud on libvirt, QEMU and OVN for tests that hurt it: brought up by `virga up`, watched by its supervisor.

Kill points are armed while it runs (VIRGA_KILL_POINT_FILE); whoever dies is started again by the supervisor.
"""
import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "crash"))
from trial import Api, Refused, wait_for  # noqa: E402


class RealCloud(Api):
    def __init__(self, program, name, port):
        super().__init__(port)
        self.program, self.namespace = os.path.realpath(program), "vt-" + name
        self.dir = tempfile.mkdtemp(prefix=f"virga-test-{name}.")
        os.chmod(self.dir, 0o711)
        self.home, self.orders = self.dir + "/home", self.dir + "/orders"
        os.mkdir(self.home)
        os.mkdir(self.orders)
        os.chmod(self.orders, 0o777)  # serve is not root, and takes its order, too
        self.config = self.dir + "/virga.toml"
        packages = os.environ.get("VIRGA_TEST_PACKAGES", "/var/cache/virga-test-packages")
        os.makedirs(packages, exist_ok=True)
        with open(self.config, "w", encoding="utf-8") as f:
            f.write(f"""[cloud]
state_dir = "{self.dir}/state"
run_dir = "{self.dir}/run"
log_dir = "{self.dir}/log"
package_cache = "{packages}"
api_port = {port}
[network]
namespace = "{self.namespace}"
[identity]
bcrypt_cost = 6
[demo]
server = false
""")
        self.state, self.run_dir = self.dir + "/state", self.dir + "/run"
        self.order = self.orders + "/kill"

    # ---- the program ----

    def virga(self, *arguments, check=True, timeout=300):
        environment = {k: v for k, v in os.environ.items() if k != "SUDO_USER"}
        environment.update(HOME=self.home, VIRGA_KILL_POINT_FILE=self.order)
        done = subprocess.run([self.program, "--config", self.config, *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, env=environment, timeout=timeout)
        if check and done.returncode != 0:
            raise AssertionError(f"virga {' '.join(arguments)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout

    def up(self):
        self.virga("up")
        self.log_in(self.status()["admin"]["password"])
        self.wait_host()

    def end(self, keep):
        if keep:
            shutil.copytree(self.dir + "/log", self.dir + "/kept-log")
        self.virga("down", "--purge")
        if keep:
            print(f"note kept: {self.dir}")
        else:
            shutil.rmtree(self.dir, ignore_errors=True)

    def status(self):
        return json.loads(self.virga("status", "--json"))

    def service(self, name):
        return next(s for s in self.status()["services"] if s["name"] == name)

    def wait_service(self, name, state="ready", other_than=None):
        return wait_for(f"{name} is {state}", lambda: (s := self.service(name)) and s["state"] == state and s["pid"] != other_than and s, 30)

    def problems(self):
        return [p["what"] for p in self.status()["problems"]]

    def says(self, log, text, since=0):
        with open(f"{self.dir}/log/{log}.log", "rb") as f:
            f.seek(since)
            return text.encode() in f.read()

    def log_size(self, log):
        return os.path.getsize(f"{self.dir}/log/{log}.log")

    # ---- killing ----

    def arm(self, point):
        """The next process that comes to this point dies there."""
        with open(self.order + ".new", "w", encoding="utf-8") as f:
            f.write(point)
        os.rename(self.order + ".new", self.order)
        role = point.split(".")[0]
        return role, self.service(role)["pid"]

    def wait_killed(self, armed):
        """It has died, and its successor is ready."""
        role, pid = armed
        wait_for(f"{role} comes to its kill point", lambda: not os.path.exists(self.order), 20)
        self.virga("service", "start", role)  # dying again and again, it would be paused for longer and longer
        self.wait_service(role, other_than=pid)
        self.wait_host()

    def disarm(self):
        if os.path.exists(self.order):
            os.unlink(self.order)

    def signal(self, service, number):
        os.kill(self.service(service)["pid"], number)

    def wait_host(self):
        wait_for("the agent is connected", lambda: not self.status()["problems"] and any(
            s["state"] == "up" and s["binary"] == "nova-compute" for s in self.get("/compute/v2.1/os-services")["services"]), 30)

    # ---- what is underneath ----

    def domains(self):
        """Every domain that libvirt knows: id to state."""
        found = {}
        for line in self.virga("virsh", "list", "--all", "--uuid", "--name").splitlines():
            if line.strip():
                found[line.split()[0]] = self.virga("virsh", "domstate", line.split()[0]).strip()
        return found

    def disks(self):
        return sorted(os.listdir(self.state + "/instances"))

    def qemu_pids(self):
        """QEMU processes of this cloud, whether libvirt knows them or not."""
        pids = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", "rb") as f:
                    command = f.read()
            except OSError:
                continue
            if command.split(b"\0")[0].endswith(b"qemu-system-x86_64") and self.dir.encode() in command:
                pids.append(int(pid))
        return sorted(pids)

    def tool(self, *arguments):
        return subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=30).stdout.split()

    def ovn_ports(self):
        return sorted(self.tool("ovn-nbctl", "--no-leader-only", f"--db=unix:{self.run_dir}/ovn/ovnnb_db.sock", "--bare", "--columns=name", "list", "Logical_Switch_Port"))

    def taps(self):
        names = self.tool("ovs-vsctl", f"--db=unix:{self.run_dir}/ovs/db.sock", "list-ports", "br-int")
        return sorted(n for n in names if n.startswith("tap"))

    def answers(self, address):
        return subprocess.run(["ip", "netns", "exec", self.namespace, "ping", "-c", "1", "-W", "1", address], capture_output=True, check=False).returncode == 0

    def database(self):
        return f"{self.state}/control/virga.db"

    def image_files(self):
        return sorted(n for n in os.listdir(f"{self.state}/control/images") if not n.startswith("."))

    def usage(self):
        used = self.counted()
        used.update({"domains": self.domains(), "disks": self.disks(), "qemu": self.qemu_pids(), "OVN's ports": self.ovn_ports(),
                     "taps": self.taps(), "image files": len(self.image_files())})
        return used

    def wait_status(self, server, *statuses, seconds=15):
        try:
            return super().wait_status(server, *statuses, seconds=seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.virga('explain', 'server', server, check=False)}") from None

    # ---- what a user does ----

    def find(self, path, plural, name):
        return next(x["id"] for x in self.get(path)[plural] if x["name"] == name)

    def set_up(self):
        """A network that reaches the outside, and what stays once a first server has been."""
        self.image = self.find("/image/v2/images", "images", "tiny")
        self.flavor = self.find("/compute/v2.1/flavors", "flavors", "m1.nano")
        self.public = self.find("/network/v2.0/networks", "networks", "public")
        self.network = self.call("POST", "/network/v2.0/networks", {"network": {"name": "net"}})["network"]["id"]
        subnet = {"network_id": self.network, "ip_version": 4, "cidr": "10.9.0.0/24"}
        subnet = self.call("POST", "/network/v2.0/subnets", {"subnet": subnet})["subnet"]["id"]
        router = {"name": "r", "external_gateway_info": {"network_id": self.public}}
        router = self.call("POST", "/network/v2.0/routers", {"router": router})["router"]["id"]
        self.call("PUT", f"/network/v2.0/routers/{router}/add_router_interface", {"subnet_id": subnet})
        self.delete_and_wait(self.boot_active())
        group = next(g["id"] for g in self.get("/network/v2.0/security-groups")["security_groups"]
                     if g["name"] == "default" and g["project_id"] == self.project)
        self.call("POST", "/network/v2.0/security-group-rules", {"security_group_rule": {
            "security_group_id": group, "direction": "ingress", "protocol": "icmp", "ethertype": "IPv4"}})

    def boot(self, image=None):
        body = {"name": "s", "imageRef": image or self.image, "flavorRef": self.flavor, "config_drive": True, "networks": [{"uuid": self.network}]}
        return self.call("POST", "/compute/v2.1/servers", {"server": body})["server"]["id"]

    def boot_active(self, image=None):
        server = self.boot(image)
        self.wait_status(server, "ACTIVE", seconds=60)
        return server

    def delete_and_wait(self, *servers):
        for server in servers:
            self.delete(server)
        for server in servers:
            self.wait_gone(server, 60)

    def wait_booted(self, server):
        """Its console asks for a login: it hears the power button now."""
        def login():
            log = self.act(server, {"os-getConsoleOutput": {"length": 20}})["output"]
            return "login:" in log
        wait_for(f"server {server} has booted", login, 60)

    def floating_ip(self, server):
        port = self.get(f"/network/v2.0/ports?device_id={server}")["ports"][0]["id"]
        body = {"floatingip": {"floating_network_id": self.public, "port_id": port}}
        made = self.call("POST", "/network/v2.0/floatingips", body)["floatingip"]
        return made["id"], made["floating_ip_address"]


__all__ = ["RealCloud", "Refused", "http", "wait_for"]
