"""Performs the planned operations against the API, and keeps what each answer promises.

A request ends in one of four ways: acknowledged, refused (nothing may have happened), lost (the connection broke: it may
have happened, or may yet, when a paused controller goes on), or broken (an internal error, which is a finding by itself).
"""
import http.client
import json
import threading
import time
from dataclasses import dataclass, field

from lab_cloud import Refused

PATHS = {"server": ("/compute/v2.1/servers", "servers"), "port": ("/network/v2.0/ports", "ports"),
         "network": ("/network/v2.0/networks", "networks"), "floatingip": ("/network/v2.0/floatingips", "floatingips"),
         "group": ("/network/v2.0/security-groups", "security_groups"), "image": ("/image/v2/images", "images")}
WRAPPED = {"server": "server", "port": "port", "network": "network", "floatingip": "floatingip", "group": "security_group"}
POWER = {"stop": {"os-stop": None}, "start": {"os-start": None}, "reboot": {"reboot": {"type": "SOFT"}}, "reboot hard": {"reboot": {"type": "HARD"}}}
MOVES = {"live": {"os-migrateLive": {"host": None, "block_migration": "auto"}}, "migrate": {"migrate": None},
         "confirm": {"confirmResize": None}, "revert": {"revertResize": None}}
PATIENCE_S = 20  # of a user who waits until a server has moved, so as to confirm or revert it
UNKNOWN = "whether it was written is not known"  # the one 503 after which it is open what happened
NO, MAYBE, YES = "no", "maybe", "yes"
IMAGE_BYTES = 70_000


@dataclass
class Resource:
    """What the answers so far allow of one resource."""
    kind: str
    slot: int
    number: int            # of the operation that made it
    names: set
    id: str = ""           # "" if its creation's answer was lost
    made: str = MAYBE
    gone: str = NO
    whole: str = NO        # of an image: its bytes are there
    power: tuple = ("", "")  # of a server: (ACTIVE or SHUTOFF, the request that asked for it last); None = open
    parts: list = field(default_factory=list)     # ids that must be found with it
    requests: list = field(default_factory=list)  # ids of acknowledged requests that began an operation

    def found(self, identifier):
        self.id, self.made = identifier, YES


def name_of(kind, number):
    return f"chaos-{kind}-{number}"


class Operator:
    def __init__(self, cloud, planned, journal):
        self.cloud, self.journal = cloud, journal
        self.slots = {}      # (kind, slot): the resource there
        self.resources = []  # all that were asked for
        self.counts = {"acknowledged": 0, "refused": 0, "lost": 0, "skipped": 0, "broken": 0}
        self.broken = []     # what was answered with an internal error
        self.lock = threading.Lock()
        self.queues = {}
        for operation in planned:
            self.queues.setdefault((operation.kind, operation.slot), []).append(operation)

    # ---- running ----

    def run(self, start):
        """Operations of a slot one after the other, but for those aside; slots beside each other. Returns when all are done."""
        aside = [o for queue in self.queues.values() for o in queue if "aside" in o.detail]
        lines = [[o for o in queue if "aside" not in o.detail] for queue in self.queues.values()] + [[o] for o in aside]
        threads = [threading.Thread(target=self.perform_all, args=(line, start)) for line in lines]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def perform_all(self, line, start):
        for operation in line:
            time.sleep(max(0, start + operation.at - time.monotonic()))
            if operation.action == "create":
                self.create(operation)
            else:
                self.change(operation)

    def count(self, how):
        with self.lock:
            self.counts[how] += 1

    def send(self, operation, method, path, body=None):
        """(how it ended, the answer's body, its request id)."""
        self.journal.write("sent", operation=operation.number, method=method, path=path, body=body if not isinstance(body, bytes) else len(body))
        request, answer = "", {}
        try:
            headers = {"Content-Type": "application/octet-stream"} if isinstance(body, bytes) else None
            response, content = self.cloud.call(method, path, body, headers, raw=True)
            how, request = "acknowledged", response.getheader("X-Openstack-Request-Id") or ""
            said, answer = f"HTTP {response.status}", json.loads(content) if content else {}
        except Refused as refused:
            how, said = self.meaning(refused), str(refused)
        except (OSError, http.client.HTTPException) as error:
            how, said = "lost", repr(error)
        self.journal.write("answered", operation=operation.number, how=how, said=said, request=request)
        self.count(how)
        if how == "broken":
            self.broken.append(f"operation {operation.number}: {method} {path}: {said}")
        return how, answer, request

    def meaning(self, refused):
        if refused.status == 503 and UNKNOWN in str(refused):
            return "lost"
        return "refused" if refused.status < 500 or refused.status == 503 else "broken"

    # ---- what is in a slot ----

    def current(self, kind, slot):
        """The resource there, looked up by its name if the answer to its creation was lost; None if there is none."""
        resource = self.slots.get((kind, slot))
        if not resource or resource.gone == YES:
            return None
        if not resource.id:
            path, plural = PATHS[kind]
            key = "description" if kind == "floatingip" else "name"
            name = next(iter(resource.names))
            try:  # Compute's filter is a pattern that is looked for anywhere in a name
                listed = [x for x in self.cloud.get(f"{path}{'/detail' if kind == 'server' else ''}?{key}={name}")[plural] if x[key] == name]
            except (OSError, http.client.HTTPException, Refused):
                return None
            if not listed:
                return None
            resource.found(listed[0]["id"])
        return resource

    def id_of(self, kind, slot):
        resource = self.current(kind, slot)
        return resource.id if resource else ""

    # ---- making ----

    def body_of_new(self, operation, name):
        c, detail = self.cloud, operation.detail
        if operation.kind == "server":
            port = self.id_of("port", detail["port"]) if "port" in detail else ""
            return {"name": name, "imageRef": c.image, "flavorRef": c.flavor, "networks": [{"port": port} if port else {"uuid": c.network}]}
        if operation.kind == "port":
            network = self.id_of("network", detail["network"]) if "network" in detail else ""
            return {"name": name, "network_id": network or c.network}
        if operation.kind == "floatingip":
            return {"description": name, "floating_network_id": c.public}
        return {"name": name}

    def create(self, operation):
        kind, name = operation.kind, name_of(operation.kind, operation.number)
        resource = Resource(kind, operation.slot, operation.number, {name})
        body = self.body_of_new(operation, name)
        body = {"disk_format": "raw", "container_format": "bare", **body} if kind == "image" else {WRAPPED[kind]: body}
        with self.lock:
            self.resources.append(resource)
        how, answer, request = self.send(operation, "POST", PATHS[kind][0], body)
        if how == "acknowledged":
            resource.found((answer if kind == "image" else answer[WRAPPED[kind]])["id"])
            if kind == "server":
                resource.requests.append(request)
                resource.power = ("ACTIVE", request)
        elif how == "refused":
            resource.made = NO
            return
        self.slots[kind, operation.slot] = resource
        if how == "acknowledged" and kind in ("image", "network"):
            self.complete(operation, resource)

    def complete(self, operation, resource):
        """What makes it of use: an image's bytes, a network's subnet."""
        if resource.kind == "image":
            content = f"{resource.id} ".encode().ljust(IMAGE_BYTES, b"x")
            how, _, _ = self.send(operation, "PUT", f"/image/v2/images/{resource.id}/file", content)
            resource.whole = {"acknowledged": YES, "refused": NO}.get(how, MAYBE)
        else:
            subnet = {"network_id": resource.id, "ip_version": 4, "cidr": f"10.{20 + operation.number % 200}.0.0/24"}
            how, answer, _ = self.send(operation, "POST", "/network/v2.0/subnets", {"subnet": subnet})
            if how == "acknowledged":
                resource.parts.append(("/network/v2.0/subnets", answer["subnet"]["id"]))

    # ---- changing ----

    def change(self, operation):
        resource = self.current(operation.kind, operation.slot)
        if not resource:
            self.journal.write("skipped", operation=operation.number, why="nothing is there")
            return self.count("skipped")
        if operation.action in POWER:
            return self.switch(operation, resource)
        if operation.action in MOVES:
            return self.move(operation, resource)
        return getattr(self, operation.action)(operation, resource)

    def switch(self, operation, resource):
        how, _, request = self.send(operation, "POST", f"/compute/v2.1/servers/{resource.id}/action", POWER[operation.action])
        if how == "acknowledged":
            resource.requests.append(request)
            resource.power = ("SHUTOFF" if operation.action == "stop" else "ACTIVE", request) if resource.power is not None else None
        if how == "lost" or "aside" in operation.detail:
            resource.power = None  # it may come to pass at any time

    def move(self, operation, resource):
        """To another host, running or off; or a word about that. It changes nothing of whether the server is to be on."""
        if operation.action in ("confirm", "revert"):
            self.wait_moved(resource)
        how, _, request = self.send(operation, "POST", f"/compute/v2.1/servers/{resource.id}/action", MOVES[operation.action])
        if how == "acknowledged":
            resource.requests.append(request)

    def wait_moved(self, resource):
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            try:
                server = self.cloud.server(resource.id)
            except (OSError, http.client.HTTPException, Refused):
                server = {"OS-EXT-STS:task_state": "unknown"}
            if not server or not server["OS-EXT-STS:task_state"]:
                return
            time.sleep(0.5)

    def path_of(self, resource):
        return f"{PATHS[resource.kind][0]}/{resource.id}"

    def delete(self, operation, resource):
        how, _, request = self.send(operation, "DELETE", self.path_of(resource))
        if how == "acknowledged":
            resource.gone = YES
            if resource.kind == "server":
                resource.requests.append(request)
        elif how == "lost" and resource.gone == NO:
            resource.gone = MAYBE

    def rename(self, operation, resource):
        name = name_of(resource.kind, operation.number)
        how, _, _ = self.send(operation, "PUT", self.path_of(resource), {WRAPPED[resource.kind]: {"name": name}})
        if how == "acknowledged" and "aside" not in operation.detail:
            resource.names = {name, *(n for n in resource.names if n.endswith("?"))}
        elif how in ("acknowledged", "lost"):
            resource.names = {*resource.names, name + "?"}  # now or later

    def regroup(self, operation, resource):
        group = self.id_of("group", operation.detail["group"])
        self.send(operation, "PUT", self.path_of(resource), {"port": {"security_groups": [group] if group else []}})

    def rule(self, operation, resource):
        port = operation.detail["port"]
        rule = {"security_group_id": resource.id, "direction": "ingress", "protocol": "tcp", "port_range_min": port, "port_range_max": port}
        how, answer, _ = self.send(operation, "POST", "/network/v2.0/security-group-rules", {"security_group_rule": rule})
        if how == "acknowledged":
            resource.parts.append(("/network/v2.0/security-group-rules", answer["security_group_rule"]["id"]))

    def attach(self, operation, resource):
        detail = operation.detail
        port = self.id_of("port", detail["port"]) if "port" in detail else self.port_of_server(detail["server"])
        if not port:
            self.journal.write("skipped", operation=operation.number, why="nothing to attach to")
            return self.count("skipped")
        self.send(operation, "PUT", self.path_of(resource), {"floatingip": {"port_id": port}})

    def detach(self, operation, resource):
        self.send(operation, "PUT", self.path_of(resource), {"floatingip": {"port_id": None}})

    def port_of_server(self, slot):
        server = self.id_of("server", slot)
        try:
            ports = self.cloud.get(f"/network/v2.0/ports?device_id={server}")["ports"] if server else []
        except (OSError, http.client.HTTPException, Refused):
            return ""
        return ports[0]["id"] if ports else ""
