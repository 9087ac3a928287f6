"""What happens to a whole cloud: a database restored from yesterday, images lost, requests sent twice."""
import os
import shutil
import subprocess
import threading

from trial import Refused, wait_for


class Disasters:
    def __init__(self, crash):
        self.crash, self.trial = crash, crash.trial

    # ---- the database restored from yesterday ----

    def restored_database(self):
        """Servers made and deleted since the copy; under the restored one nothing on the host may change."""
        t, crash = self.trial, self.crash
        yesterday, today = f"{t.dir}/yesterday.db", f"{t.dir}/today.db"
        old = crash.boot_active()
        t.back_up(yesterday)
        t.restart("serve")  # a newer epoch, which the agent sees
        new = crash.boot_active()
        t.act(old, {"os-stop": None})
        t.wait_status(old, "SHUTOFF")
        before = (t.domains(), t.disks())
        t.serve.kill()
        t.back_up(today)
        t.put_database(yesterday)
        agent_log, serve_log = t.agent.log_size(), t.serve.log_size()
        t.start_serve()
        wait_for("the agent tells", lambda: t.agent.says("REFUSED", agent_log))
        wait_for("the controller tells", lambda: t.serve.says("the database is older than the host", serve_log))
        assert t.server(new) is None
        late = crash.boot()
        assert "agent is not connected" in t.wait_status(late, "ERROR")["fault"]["message"]
        t.delete(old)
        # Nor does it help to start again and again until the epoch has caught up.
        for _ in range(4):
            serve_log = t.serve.log_size()
            t.serve.kill()
            t.start_serve()
            wait_for("the host is refused again", lambda: t.serve.says("REFUSED", serve_log))
        t.agent.kill()
        t.start_agent(connected=False)
        assert (t.domains(), t.disks()) == before, (t.domains(), before)
        t.serve.kill()
        t.put_database(today)
        t.start_serve()
        assert t.server(old)["status"] == "SHUTOFF" and t.server(new)["status"] == "ACTIVE"
        crash.delete_and_wait(old, new)
        crash.nothing_left()

    def accepted_restore(self):
        """The operator takes the restored database: what it does not know stays on the host, in quarantine."""
        t, crash = self.trial, self.crash
        yesterday = f"{t.dir}/yesterday.db"
        t.back_up(yesterday)
        t.restart("serve")
        new = crash.boot_active()
        t.serve.kill()
        t.put_database(yesterday)
        log = t.serve.log_size()
        t.start_serve()
        wait_for("the controller tells", lambda: t.serve.says("the database is older than the host", log))
        subprocess.run([t.program, "--config", t.config, "db", "accept-restored"], check=True, stdout=subprocess.DEVNULL)
        t.wait_host()
        wait_for("the quarantined server is told", lambda: t.serve.says(new, log) and t.serve.says("quarantine", log))
        assert t.domains().get(new) == "running" and new in t.disks()
        crash.delete_and_wait(crash.boot_active())
        t.agent.kill()  # by hand, as the hint says
        shutil.rmtree(f"{t.state}/instances/{new}")
        with open(f"{t.state}/agent/fake-domains.json", "a", encoding="utf-8") as f:
            f.write(f"{new} 0 0 -\n")
        t.start_agent()
        crash.nothing_left()

    # ---- images ----

    def image_deleted_in_use(self):
        t, crash = self.trial, self.crash
        image = crash.upload_image("deleted")
        server = crash.boot_active(image=image)
        crash.delete_image(image)
        t.restart("agent")
        assert t.wait_status(server, "ACTIVE") and t.domains()[server] == "running"
        for action, status in (({"reboot": {"type": "HARD"}}, "ACTIVE"), ({"os-stop": None}, "SHUTOFF"), ({"os-start": None}, "ACTIVE")):
            t.act(server, action)
            t.wait_status(server, status)
        crash.delete_and_wait(server)
        crash.nothing_left()

    def damaged_image(self, damage, *words):
        """A boot of it ends in ERROR and says what is wrong; its server can be deleted."""
        t, crash = self.trial, self.crash
        file = f"{t.dir}/{damage.__name__}.qcow2"
        # Bytes of its own, or the agent would have the same image in its cache.
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", file, f"{9 + len(damage.__name__)}M"], check=True)
        known = set(t.image_files())
        image = crash.upload_image("damaged", file)
        damage(f"{t.state}/control/images/" + (set(t.image_files()) - known).pop())
        server = crash.boot(image=image)
        shown = t.wait_status(server, "ERROR", seconds=25)
        message = shown["fault"]["message"]
        assert image in message and any(word in message for word in words), message
        crash.delete_and_wait(server)
        crash.delete_image(image)
        crash.nothing_left()

    def truncated_image(self):
        def truncate(path):
            os.truncate(path, 1000)
        self.damaged_image(truncate, "bytes")

    def changed_image(self):
        def change(path):
            with open(path, "r+b") as f:
                f.seek(-1, os.SEEK_END)
                f.write(b"X")
        self.damaged_image(change, "checksum")

    def missing_image(self):
        def remove(path):
            os.unlink(path)
        self.damaged_image(remove, "missing")

    def lost_cache(self):
        """The agent's copy was cut short, and the image is there: fetched again, and the server boots."""
        t, crash = self.trial, self.crash
        for name in os.listdir(f"{t.state}/image-cache"):
            os.truncate(f"{t.state}/image-cache/{name}", 100)
        crash.delete_and_wait(crash.boot_active())
        crash.nothing_left()

    # ---- requests sent twice ----

    def at_once(self, count, request):
        """Sends the same thing `count` times at once; the statuses, 0 for success."""
        statuses = []

        def send():
            try:
                request()
                statuses.append(0)
            except Refused as refused:
                statuses.append(refused.status)
        threads = [threading.Thread(target=send) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sorted(statuses)

    def duplicated_requests(self):
        t, crash = self.trial, self.crash
        server = crash.boot_active()
        statuses = self.at_once(8, lambda: t.act(server, {"os-stop": None}))
        assert statuses == [0] + [409] * 7, statuses
        t.wait_status(server, "SHUTOFF")
        statuses = self.at_once(8, lambda: t.act(server, {"os-start": None}))
        assert statuses == [0] + [409] * 7, statuses
        t.wait_status(server, "ACTIVE")
        statuses = self.at_once(8, lambda: t.delete(server))
        assert set(statuses) <= {0, 404} and 0 in statuses, statuses
        t.wait_gone(server)
        crash.nothing_left()

    def duplicated_uploads(self):
        t, crash = self.trial, self.crash
        image = crash.new_image("twice")
        statuses = self.at_once(6, lambda: crash.put_image(image))
        assert statuses == [0] + [409] * 5, statuses
        statuses = self.at_once(6, lambda: crash.delete_image(image))
        assert statuses == [0] + [404] * 5, statuses
        key = {"keypair": {"name": "twice"}}
        statuses = self.at_once(6, lambda: t.call("POST", "/compute/v2.1/os-keypairs", key))
        assert statuses == [0] + [409] * 5, statuses
        t.call("DELETE", "/compute/v2.1/os-keypairs/twice")
        crash.nothing_left()


def add_disasters(crash):
    disasters = Disasters(crash)
    for what, test in (
            ("a database restored from yesterday is refused, nothing is destroyed", disasters.restored_database),
            ("a restored database that the operator accepts", disasters.accepted_restore),
            ("an image deleted while a server uses it", disasters.image_deleted_in_use),
            ("an image truncated on disk", disasters.truncated_image),
            ("an image changed on disk", disasters.changed_image),
            ("an image missing on disk", disasters.missing_image),
            ("the agent's image cache cut short", disasters.lost_cache),
            ("the same request eight times at once", disasters.duplicated_requests),
            ("the same upload and keypair six times at once", disasters.duplicated_uploads)):
        crash.check(what, test)
