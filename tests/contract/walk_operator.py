"""virga's own commands around the API."""
import json
import os

from harness import equal, subset

OWN_TABLES = {"schema_migrations", "schema_migration_progress", "schema_compatibility"}  # the database's, of no service


def explained(b):
    with b.check("virga explain server: no host could take it, each host and why"):
        b.do("admin", "flavor create", "--ram", "2000000000", "--disk", "1", "--vcpus", "1", "huge")
        b.do("admin", "quota set", "--ram", "-1", "--cores", "-1", "demo")
        b.do("demo", "server create", "--flavor", "huge", "--image", "tiny", "--network", "private", "giant")
        b.wait("ERROR", lambda: b.get("demo", "server show", "giant")["status"] == "ERROR")
        host = b.get("admin", "hypervisor list")[0]["Hypervisor Hostname"]
        said = b.virga("explain", "server", "giant")
        subset(["No valid host", host, "2000000000", "MEMORY_MB"], said)
        subset(["No valid host"], b.get("demo", "server show", "giant")["fault"]["message"])
        b.do("demo", "server delete", "--wait", "giant")
        b.do("admin", "flavor delete", "huge")
    with b.check("virga explain server, port, operation: step by step"):
        said = b.virga("explain", "server", "demo")
        subset(["demo", "ACTIVE"], said)
        answer = json.loads(b.virga("explain", "server", "demo", "--json"))
        operation = answer["operations"][-1]
        assert operation["steps"], answer
        subset([operation["kind"]], b.virga("explain", "operation", operation["id"]))
        port = b.get("demo", "port list", "--server", "demo")[0]["ID"]
        subset([port, "ACTIVE"], b.virga("explain", "port", port))
        assert "could not be found" in b.virga("explain", "server", "nobody", code=1)


def tables(b):
    with b.check("virga db tables keystone"):
        said = b.virga("db", "tables", "keystone")
        subset(["identity_users", "identity_projects"], said)
        assert "compute_" not in said
        assert "There is no service" in b.virga("db", "tables", "nothing", code=1)
    with b.check("virga db tables: each table is one service's"):
        def names(*service):
            return [line.split()[0] for line in b.virga("db", "tables", *service).splitlines()]
        services = [name for service in ("keystone", "glance", "placement", "neutron", "nova", "operations", "enrolment", "controllers") for name in names(service)]
        equal(sorted(services), sorted(name for name in names() if name not in OWN_TABLES))
        subset(["servers", "flavors", "allocations"], services)
    with b.check("virga service status lists serve, agent and the APIs; no engine runs for the fake"):
        said = b.virga("service", "status")
        subset(["serve", "agent", "keystone", "nova"], said)
        equal(sorted(s["name"] for s in b.state["services"]), ["agent", "serve"])
        assert "ready" in b.virga("service", "status", "nova-scheduler")
        assert "There is no service" in b.virga("service", "status", "nothing", code=1)
    with b.check("virga status --json"):
        status = json.loads(b.virga("status", "--json"))
        equal((status["phase"], status["api"]), ("running", b.url))
    with b.check("virga doctor --json: rows with verdict and fix"):
        import subprocess
        done = subprocess.run([b.program, "--config", b.config, "doctor", "--json"], capture_output=True, text=True, timeout=60)
        rows = json.loads(done.stdout)
        assert len(rows) >= 8, rows
        for row in rows:
            assert row["status"] in ("pass", "warn", "fail"), row
            assert row["status"] == "pass" or row["fix"], row


def keys_rotated(b):
    with b.check("virga identity rotate-keys: tokens stay valid, and clients meet no refusal meanwhile"):
        import threading
        token = b.do("admin", "token issue", "-f", "value", "-c", "id").strip()
        over, refused, asked = threading.Event(), [], []
        b.token("admin")
        def ask():
            while not over.is_set():
                status = b.rest("GET", "/identity/v3/auth/tokens", user="admin", X_Subject_Token=token).status
                (asked if status == 200 else refused).append(status)
        clients = [threading.Thread(target=ask) for _ in range(3)]
        for client in clients:
            client.start()
        try:
            for _ in range(3):
                subset(["still are"], b.virga("identity", "rotate-keys"))
            subset(["were sealed again"], b.virga("identity", "rotate-keys", "--credentials"))
        finally:
            over.set()
        for client in clients:
            client.join()
        assert asked and not refused, refused
        b.do("admin", "token issue")


def policies(b):
    path = b.folder + "/policy.yaml"

    def put(text):  # whole at once: serve looks at it by itself
        with open(path + ".new", "w", encoding="utf-8") as file:
            file.write(text)
        os.rename(path + ".new", path)

    def status():
        return b.rest("GET", "/identity/v3/users", user="demo").status

    with b.check("a refusal names the rule, and virga policy check says which part of it refused"):
        reply = b.rest("GET", "/identity/v3/users", user="demo")
        equal(reply.status, 403)
        subset(["identity:list_users"], reply.json["error"]["message"])
        said = b.virga("policy", "check", "identity:list_users", "--user", "demo", "--project", "demo", code=1)
        subset(["refused: identity:list_users", "role:admin", "<- this decides"], said)
        subset(["allowed: identity:list_users"], b.virga("policy", "check", "identity:list_users", "--user", "admin", "--system"))
        said = b.virga("policy", "check", "create_network:shared", "--user", "demo", "--project", "demo", "--json", code=1)
        equal(json.loads(said.splitlines()[0])["allowed"], False)
        subset(["identity:list_users"], b.virga("policy", "check", "identity:list_user", "--user", "demo", "--unscoped", code=1))
        subset(["nobody"], b.virga("policy", "check", "identity:list_users", "--user", "nobody", "--unscoped", code=1))
    with b.check("virga policy check asks for a scope, and takes something of the user's own for the target"):
        delete = ["policy", "check", "os_compute_api:servers:delete", "--user", "demo"]
        subset(["--project", "--unscoped"], b.virga(*delete, code=1))
        project = b.get("admin", "project show", "demo")["id"]
        own = b.virga(*delete, "--project", "demo")
        subset(["allowed: os_compute_api:servers:delete", "user's own", "project_id=" + project], own)
        other = b.virga(*delete, "--project", "demo", "--target", "project_id=demo", code=1)
        subset(["refused: os_compute_api:servers:delete", "No project has the id demo"], other)
        subset(["does not look at colour"], b.virga(*delete, "--project", "demo", "--target", "colour=red", code=1))
        subset(["refused"], b.virga("policy", "check", "identity:list_users", "--user", "demo", "--unscoped", code=1))
    with b.check("virga policy list takes a service's name or type, and says so when there is nothing to list"):
        subset(['"os_compute_api:servers:delete": '], b.virga("policy", "list", "--service", "compute"))
        subset(["keystone, glance, placement, neutron and nova"], b.virga("policy", "list", "--service", "nvoa", code=1))
        subset(["changes none"], b.virga("policy", "list", "--overridden"))
    with b.check("a policy.yaml that changes is taken by itself, and one with a mistake is not"):
        put('"identity:list_users": "role:member"\n')
        b.wait("the new rule", lambda: status() == 200)
        subset(["# from the policy file", '"identity:list_users": "role:member"'], b.virga("policy", "list", "--overridden"))
        put("identity:list_user: '@'\n")
        log = os.path.join(b.folder, "log", "serve.log")
        b.wait("a word about it", lambda: "there is no such rule; the nearest is" in open(log, encoding="utf-8").read())
        equal(status(), 200)
        put("# none\n")
        b.wait("the default", lambda: status() == 403)
        assert "identity:list_users" not in b.virga("policy", "list", "--overridden")
        subset(['"os_compute_api:servers:delete": '], b.virga("policy", "list", "--service", "nova"))


def configured(b):
    path = b.folder + "/fresh.toml"
    with b.check("virga config init writes every key; what it wrote is accepted"):
        b.virga("config", "init", path)
        text = open(path).read()
        subset(["[cloud]", "api_port", "[compute]", "hypervisor"], text)
        assert "is there already" in b.virga("config", "init", path, code=1)
        equal(os.stat(path).st_mode & 0o777, 0o600)
        b.virga("config", "show", config=path)
    with b.check("a key that is none is refused with file, line and the nearest key; so is a wrong type"):
        bad = b.folder + "/bad.toml"
        open(bad, "w").write("[cloud]\n\napi_prt = 5000\n")
        said = b.virga("config", "show", code=1, config=bad)
        subset([bad, "3", "api_prt", "api_port"], said)
        open(bad, "w").write('[cloud]\napi_port = "many"\n')
        subset([bad, "2", "api_port"], b.virga("config", "show", code=1, config=bad))
    with b.check("virga up --gen-answer-file writes packstack's keys"):
        answers = b.folder + "/answers.txt"
        b.virga("up", "--gen-answer-file", answers)
        subset(["[general]", "CONFIG_KEYSTONE_ADMIN_PW", "CONFIG_NOVA_SCHED_CPU_ALLOC_RATIO", "CONFIG_PROVISION_DEMO"], open(answers).read())
    with b.check("virga up --answer-file: what applies is written, the rest is named, the cloud stays up"):
        lines = open(answers).read().replace("CONFIG_NOVA_SCHED_CPU_ALLOC_RATIO=", "CONFIG_NOVA_SCHED_CPU_ALLOC_RATIO=7.5\n#")
        open(answers, "w").write(lines + "\nCONFIG_AMQP_BACKEND=rabbitmq\n")
        said = b.virga("up", "--answer-file", answers)
        subset(["CONFIG_AMQP_BACKEND", "do not apply"], said)
        subset(["cpu_allocation_ratio = 7.5", 'hypervisor = "fake"'], open(b.config).read())
        equal(b.rest("GET", "/identity/v3/auth/projects").status, 200)


def walk(b):
    explained(b)
    tables(b)
    keys_rotated(b)
    policies(b)
    configured(b)
