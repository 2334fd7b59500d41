#!/usr/bin/env python3
"""topology.py - nginx, three broadcasters, readers and PostgreSQL, without Docker

What docker-compose.yml starts in containers, as processes of this machine: nginx
with the configuration of build/nginx, a PostgreSQL cluster of its own, a reader
for each store. Scenarios and `make up` use the same class:

    with Topology(folder) as topology:
        topology.front.port         where nginx listens
        topology.broadcasters       Programs: kill(), restart()
        topology.readers            Readers, in the order of their kinds

    tests/scenario/topology.py      until Ctrl-C; scripts/up.sh says what it reads
"""
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import postgres
from client import get
from harness import ROOT, Port, Program, Reader, running

KINDS = ("postgres", "file", "discard")
NGINX_CONF = ROOT / "build" / "nginx"


class GivenPort:
    """A port that the user chose."""

    def __init__(self, number):
        self.number = number

    def release(self):
        """Nothing is held."""


class Nginx(Program):
    """nginx with exactly build/nginx, in front of these broadcasters."""

    def __init__(self, folder, broadcasters, port=None):
        super().__init__("nginx", folder, {}, port=port)
        self.name = "nginx"
        self.broadcasters = broadcasters
        self.listen = f"{self.address} reuseport"
        self.write_configuration()

    def write_configuration(self):
        """The two files that differ from place to place; the rest is copied."""
        for name in ("nginx.conf", "stream-broadcast.conf"):
            shutil.copy(NGINX_CONF / name, self.folder / name)
        local = self.folder / "stream-broadcast"
        local.mkdir(exist_ok=True)
        (self.folder / "temp").mkdir(exist_ok=True)
        (local / "listen.conf").write_text(f"listen {self.listen};\n")
        (local / "servers.conf").write_text("".join(
            f"server {b.address} max_fails=1 fail_timeout=1s;\n"
            for b in self.broadcasters))

    def command(self):
        path = f"{os.environ.get('PATH', '')}:/usr/sbin"
        program = shutil.which("nginx", path=path)
        if not program:
            raise AssertionError("no nginx: run scripts/setup.sh test")
        return [program, "-p", str(self.folder), "-c",
                str(self.folder / "nginx.conf")]

    def kill(self):
        """Its workers too; they would go on without their master."""
        workers = self.workers() if self.is_running() else []
        status = super().kill()
        for pid in workers:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return status

    def workers(self):
        """Process ids of those who do the work."""
        path = pathlib.Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(word) for word in path.read_text().split()]

    def spooled(self):
        """Files that it has written content to, open or deleted."""
        found = [str(p) for p in (self.folder / "temp").rglob("*")
                 if p.is_file()]
        for pid in self.workers():
            for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir():
                target = os.readlink(fd)
                if "/temp/" in target:
                    found.append(target)
        return found

    def memory(self):
        """Resident bytes of all workers that no other process shares."""
        total = 0
        for pid in self.workers():
            for line in pathlib.Path(f"/proc/{pid}/status").read_text() \
                    .splitlines():
                if line.startswith("RssAnon:"):
                    total += int(line.split()[1]) * 1024
        return total


class Topology:
    """All of it; settings are those of the programs, by their prefix."""

    def __init__(self, folder, kinds=("postgres", "file"), n_broadcasters=3,
                 ports=None, database_folder=None, **settings):
        self.folder = pathlib.Path(folder)
        self.database_folder = database_folder
        self.kinds = kinds
        self.n_broadcasters = n_broadcasters
        self.ports = iter(ports or [])
        self.settings = settings
        self.database = None
        self.server = None
        self.readers = []
        self.broadcasters = []
        self.front = None

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *exc):
        self.stop()

    # ---- starting -----------------------------------------------------------------

    def start(self):
        for kind in self.kinds:
            self.start_reader(kind)
        for reader in self.readers:
            reader.wait_ready()
        for number in range(1, self.n_broadcasters + 1):
            self.start_broadcaster(number)
        for broadcaster in self.broadcasters:
            broadcaster.wait_ready()
        self.front = Nginx(self.scratch("nginx"), self.broadcasters,
                           port=self.port())
        self.front.start()
        self.front.wait_ready()
        return self

    def scratch(self, name):
        path = self.folder / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def port(self):
        number = next(self.ports, None)
        return Port() if number is None else GivenPort(number)

    def chosen(self, prefix):
        return {k: v for k, v in self.settings.items() if k.startswith(prefix)}

    def start_reader(self, kind):
        """Kinds that stand there twice get numbers."""
        index = len(self.readers)
        name = kind if self.kinds.count(kind) == 1 else \
            f"{kind}-{self.kinds[:index + 1].count(kind)}"
        reader = Reader("reader", self.scratch(f"reader-{name}"), {},
                        port=self.port())
        reader.name = name
        reader.settings = {"READER_STORE": kind, **self.store(kind, reader),
                           **self.chosen("READER_")}
        self.readers.append(reader)
        reader.start()

    def store(self, kind, reader):
        if kind == "postgres":
            return self.make_database().local_env()
        if kind == "file":
            reader.store.mkdir(exist_ok=True)
            return {"READER_FILE_DIR": reader.store}
        return {}

    def make_database(self):
        """One server for all readers of this kind, and one database."""
        if not self.server:
            self.server = postgres.Cluster(
                self.database_folder, fsync="on", full_page_writes="on").start()
            self.database = self.server.database("stream_broadcast", create=True)
        return self.database

    def start_broadcaster(self, number):
        broadcaster = Program("broadcaster",
                              self.scratch(f"broadcaster-{number}"), {},
                              port=self.port())
        targets = [f"{r.name}={r.address}" for r in self.readers]
        broadcaster.name = f"broadcaster-{number}"
        broadcaster.settings = {
            "BROADCASTER_HOST_LIST": ";".join(targets),
            "BROADCASTER_QUORUM": "majority",
            **self.chosen("BROADCASTER_"), **self.chosen("READER_TOKEN")}
        self.broadcasters.append(broadcaster)
        broadcaster.start()

    # ---- ending -------------------------------------------------------------------

    def programs(self):
        """In the order in which they may end: who asks before who answers."""
        front = [self.front] if self.front else []
        return [*front, *self.broadcasters, *self.readers]

    def stop(self):
        """SIGTERM for all, one layer after the other; (program, status) of those
        who did not end with 0."""
        bad = []
        for program in self.programs():
            if program.process is None:
                continue
            try:
                status = program.stop(60)
            except subprocess.TimeoutExpired:
                status = program.kill()
            if status != 0:
                bad.append((program, status))
            program.held.release()
        if self.server:
            self.server.remove()
        return bad


# ---- make up ------------------------------------------------------------------------


def fail(text):
    sys.exit(f"up: {text}")


def port_numbers(first, kinds, n_broadcasters):
    """nginx has the first, then readers, then broadcasters."""
    readers = [first + 11 + i for i in range(len(kinds))]
    broadcasters = [first + 1 + i for i in range(n_broadcasters)]
    return [*readers, *broadcasters, first]


def is_taken(port):
    try:
        get(port, "/healthz")
        return True
    except ConnectionRefusedError:
        return False
    except Exception:       # it answers something that is not HTTP
        return True


def wishes():
    """UP_* of the environment, checked."""
    kinds = tuple(os.environ.get("UP_READERS", "postgres file").split())
    bad = [k for k in kinds if k not in KINDS]
    if bad or not 1 <= len(kinds) <= 9:
        fail(f"UP_READERS: one to nine of {', '.join(KINDS)}, with blanks")
    port = os.environ.get("UP_PORT", "8080")
    if not port.isdigit() or not 1 <= int(port) <= 65000:
        fail(f"UP_PORT={port} is not a port")
    number = os.environ.get("UP_BROADCASTERS", "3")
    if number not in list("123456789"):
        fail(f"UP_BROADCASTERS={number}: 1 to 9 is allowed")
    ports = port_numbers(int(port), kinds, int(number))
    for taken in filter(is_taken, ports):
        fail(f"port {taken} is taken by another program; stop it, or choose "
             "others: make up UP_PORT=9000")
    return kinds, int(number), ports


def show(topology):
    url = f"http://localhost:{topology.front.port}"
    print("up: everything is ready")
    for program in topology.programs():
        print(f"  {program.name:14} "
              f"http://localhost:{program.port:<6} pid {program.pid:<8} "
              f"log {program.log_path}")
    if topology.server:
        env = topology.database.env()
        print(f"  {'postgresql':14} psql 'host=127.0.0.1 port={env['DB_PORT']} "
              f"dbname={env['DB_NAME']} user={env['DB_USER']} "
              f"password={env['DB_PASSWORD']}'")
    print(f"""
up: try, in another terminal
  curl -T FILE -H 'Accept: text/plain' {url}/broadcast/
  curl -F title=Dawn -F file=@FILE {url}/broadcast
  curl '{url}/media?q=dawn'
  curl -r 0-99 {url}/media/ID
  kill -9 {topology.broadcasters[0].pid}        # it is started again
up: Ctrl-C stops everything
""", flush=True)


def revive(topology):
    """Start again what has ended, as systemd and Docker would."""
    for program in topology.programs():
        if program.process.poll() is None:
            continue
        print(f"up: {program.name} has ended with "
              f"{program.process.returncode}, starting it again", flush=True)
        running.pop(program.process.pid, None)
        program.restart()
    if topology.server and not topology.server.is_running():
        print("up: postgresql has ended, starting it again", flush=True)
        topology.server.start()


def main():
    kinds, n_broadcasters, ports = wishes()
    chosen = {k: v for k, v in os.environ.items()
              if k.startswith(("BROADCASTER_", "READER_"))}
    given = os.environ.get("UP_DIR")
    folder = pathlib.Path(given or tempfile.mkdtemp(
        prefix="stream-broadcast-up-")).resolve()
    postgres.exit_on_signals()
    topology = Topology(folder, kinds, n_broadcasters, ports,
                        folder / "postgres" if given else None, **chosen)
    try:
        with topology:
            show(topology)
            while True:
                time.sleep(1)
                revive(topology)
    except AssertionError as error:
        fail(error)
    finally:
        if not given:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
