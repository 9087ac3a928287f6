"""Reads the database of a cloud in a lab: SQLite of one controller, MariaDB (in node1) of several. Neither way goes over wires."""
import os
import re
import shutil
import sqlite3
import subprocess
from contextlib import closing


class Sqlite:
    def __init__(self, folder):
        self.file = f"{folder}/node1/lib/control/virga.db"

    def rows(self, sql, *arguments):
        with closing(sqlite3.connect(f"file:{self.file}?mode=ro", uri=True, timeout=10)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(sql, arguments)]

    def keep(self, folder):
        if os.path.exists(self.file):
            shutil.copy(self.file, folder)


class MariaDb:
    """With the client's own program. A cell is a number if it looks like one: no text that is compared here does."""

    ESCAPES = {"n": "\n", "t": "\t", "0": "\0", "\\": "\\"}

    def __init__(self, folder):
        self.folder = folder

    def command(self, program, *arguments):
        """Its socket lies in the host's own /run."""
        with open(f"{self.folder}/node1/init", encoding="ascii") as f:
            socket = f"/proc/{f.read().split()[0]}/root/run/virga-mariadb/sock"
        return [program, "--no-defaults", "-u", "root", "-S", socket, *arguments]

    def rows(self, sql, *arguments):
        quoted = iter("'" + a.replace("\\", "\\\\").replace("'", "''") + "'" for a in arguments)
        sql = re.sub(r"\?", lambda _: next(quoted), sql)
        done = subprocess.run(self.command("mariadb", "-B", "--init-command", "SET sql_mode = 'PIPES_AS_CONCAT'", "-e", sql, "virga"),
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
        if done.returncode != 0:
            raise OSError(f"mariadb: {done.stderr.strip()}")
        heading, *lines = done.stdout.splitlines() or [""]
        return [dict(zip(heading.split("\t"), map(self.value, line.split("\t")))) for line in lines]

    def value(self, cell):
        if cell == "NULL":
            return None
        if re.fullmatch(r"-?\d{1,18}", cell):
            return int(cell)
        return re.sub(r"\\(.)", lambda m: self.ESCAPES.get(m[1], m[1]), cell)

    def keep(self, folder):
        with open(f"{folder}/virga.sql", "wb") as f:
            subprocess.run(self.command("mariadb-dump", "virga"), stdin=subprocess.DEVNULL, stdout=f, timeout=60, check=False)
