#!/usr/bin/env python3
"""postgres.py - PostgreSQL clusters of our own, in scratch folders

In scenarios:

    server = postgres.shared()              one for the process, for cheap tests
    server = postgres.Cluster(max_connections=20).start()       a private one
    database = server.create_database()     fresh; database.env() is a reader's
    server.query("SELECT 1")                [["1"]], as the superuser
    server.stop("immediate"); server.start()

On the command line, for shell scripts and unit tests in C:

    tests/scenario/postgres.py run COMMAND...   runs it with TEST_DB_HOST, _PORT,
                                                _USER, _PASSWORD and _NAME set
    tests/scenario/postgres.py serve [--folder DIR] [--port N] [--database NAME]
                                                until SIGTERM; prints DB_HOST=… as
                                                soon as it takes connections

Servers listen on a free port of 127.0.0.1 and on a Unix socket in their folder,
never run as root, and end with the process that started them, however that ends.
They do not sync to disk unless told so (fsync="on"): killing them loses nothing
that the system has, and benchmarks ask for it. The role "reader" owns the
databases, may create more and is no superuser.

With --folder the cluster stays there and is used again the next time.

Environment: PG_BINDIR  folder of initdb and postgres (Debian's newest)
"""
import argparse
import atexit
import itertools
import os
import pathlib
import pwd
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid

ROLE = "reader"
PASSWORD = "known-to-everybody"
SUPERUSER = "postgres"
DEADLINE = 60.0 * float(os.environ.get("SCENARIO_PATIENCE", "1"))
STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT,
                "immediate": signal.SIGQUIT, "kill": signal.SIGKILL}
SETTINGS = {"fsync": "off", "full_page_writes": "off", "shared_buffers": "64MB",
            "max_connections": 100, "logging_collector": "off",
            "log_min_duration_statement": -1, "lc_messages": "C"}
# Ends the server when its starter is gone: the pipe that only the starter holds
# reaches its end. $1 is the cluster's folder, $2 whether to remove it.
GUARD = """
trap '' INT TERM HUP
cat >/dev/null
if read -r pid <"$1/data/postmaster.pid" &&
    grep -aqF "$1/data" "/proc/$pid/cmdline" && kill -QUIT "$pid"; then
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        grep -aqF "$1/data" "/proc/$pid/cmdline" || break
        sleep 0.2
    done
fi
[ "$2" = keep ] || rm -rf "$1"
"""

clusters = []           # what atexit removes


class Failed(AssertionError):
    """PostgreSQL did not do what was asked; its words are the message."""


def bindir():
    """Where initdb and postgres are."""
    if os.environ.get("PG_BINDIR"):
        return pathlib.Path(os.environ["PG_BINDIR"])
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"),
                   key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    program = shutil.which("initdb")
    if not program:
        raise Failed("no PostgreSQL server: run scripts/setup.sh test")
    return pathlib.Path(program).resolve().parent


def server_user():
    """Who runs servers: root may not, so it becomes postgres or nobody."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise Failed("neither postgres nor nobody is a user of this machine")


def as_user(user, *command):
    if user is None:
        return [*map(str, command)]
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}",
            "--clear-groups", *map(str, command)]


def free_port():
    """A port nobody listens on, outside the range that clients are given.

    A server that is down for a moment then finds its port free again.
    """
    text = pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text()
    lowest = int(text.split()[0])
    for _ in range(1000):
        port = random.SystemRandom().randrange(10000, max(lowest, 11000))
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise Failed("no free port")


def clean_env(**more):
    """No PG* variable of ours reaches a server or psql."""
    env = {k: v for k, v in os.environ.items()
           if not k.startswith(("PG", "LD_PRELOAD"))}
    return {**env, "LC_ALL": "C", **more}


class Database:
    """A database of its own, and how to reach it."""

    def __init__(self, cluster, name):
        self.cluster = cluster
        self.name = name

    def env(self):
        """What a reader needs to use it."""
        return {"DB_HOST": "127.0.0.1", "DB_PORT": str(self.cluster.port),
                "DB_NAME": self.name, "DB_USER": ROLE, "DB_PASSWORD": PASSWORD}

    def local_env(self):
        """The same, through the server's Unix socket."""
        return {**self.env(), "DB_HOST": str(self.cluster.folder)}

    def url(self):
        return (f"postgresql://{ROLE}:{PASSWORD}@127.0.0.1:"
                f"{self.cluster.port}/{self.name}")

    def query(self, sql):
        """As the superuser."""
        return self.cluster.query(sql, self.name)

    def value(self, sql):
        """The one value of the one row."""
        return self.cluster.value(sql, self.name)

    def backends(self):
        """Process ids of those who are connected to it."""
        return [pid for pid, name in self.cluster.sessions()
                if name == self.name]

    def drop(self):
        self.cluster.query(f'DROP DATABASE IF EXISTS "{self.name}" WITH (FORCE)')


class Cluster:
    """A server in a folder; settings are those of postgresql.conf."""

    def __init__(self, folder=None, port=None, **settings):
        self.user = server_user()
        self.keep = folder is not None
        self.folder = pathlib.Path(
            folder or tempfile.mkdtemp(prefix="stream-broadcast-pg-")).resolve()
        self.data = self.folder / "data"
        self.log_path = self.folder / "log"
        self.port = port or free_port()
        self.port_is_given = port is not None
        self.settings = {**SETTINGS, **settings}
        self.process = None
        self.guard = None
        self.numbers = itertools.count(1)
        clusters.append(self)

    # ---- life -------------------------------------------------------------------

    def start(self, wait=True):
        """Make the cluster if it is new, start it; until it takes connections."""
        self.make_folder()
        if not self.data.exists():
            self.initialise()
        deadline = time.monotonic() + DEADLINE
        while True:
            self.launch()
            if not wait or self.answers(deadline):
                return self
            self.another_chance(deadline)

    def initialise(self):
        password = self.folder / "password"
        password.write_text(PASSWORD + "\n")
        self.give(password)
        self.run("initdb", "--no-sync", "--pgdata", self.data, "--encoding=UTF8",
                 "--locale=C.UTF-8", f"--username={SUPERUSER}",
                 f"--pwfile={password}", "--auth=scram-sha-256")
        password.unlink()
        self.execute_alone(f"CREATE ROLE {ROLE} LOGIN CREATEDB "
                           f"PASSWORD '{PASSWORD}'")

    def make_folder(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        self.give(self.folder)
        self.check_access()
        self.watch()

    def check_access(self):
        """Folders above may be closed to the server's user, as /root is."""
        done = subprocess.run(as_user(self.user, "test", "-x", self.folder),
                              cwd="/", check=False)
        if done.returncode != 0:
            raise Failed(f"the user {self.user.pw_name} cannot enter "
                         f"{self.folder}; PostgreSQL refuses to run as root: "
                         "choose another folder, or be another user")

    def give(self, path):
        if self.user:
            os.chown(path, self.user.pw_uid, self.user.pw_gid)

    def run(self, program, *args, **options):
        """A program of PostgreSQL's, as the server's user."""
        done = subprocess.run(
            as_user(self.user, bindir() / program, *args), cwd="/",
            env=clean_env(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, check=False, **options)
        if done.returncode != 0:
            raise Failed(f"{program} in {self.folder}: {done.stdout}")
        return done.stdout

    def execute_alone(self, sql):
        """In single-user mode, where no connection is needed."""
        self.run("postgres", "--single", "-D", self.data, "-F", "postgres",
                 input=sql + "\n")

    def watch(self):
        """Have server and folder end with us, even if we are killed."""
        if self.guard is None:
            self.guard = subprocess.Popen(
                ["/bin/sh", "-c", GUARD, "guard", str(self.folder),
                 "keep" if self.keep else "remove"],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd="/",
                stderr=subprocess.DEVNULL, start_new_session=True)

    def options(self):
        fixed = {"listen_addresses": "127.0.0.1", "port": self.port,
                 "unix_socket_directories": self.folder}
        return [word for name, value in {**self.settings, **fixed}.items()
                for word in ("-c", f"{name}={value}")]

    def launch(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                as_user(self.user, bindir() / "postgres", "-D", self.data,
                        *self.options()),
                cwd="/", env=clean_env(), stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True)

    def answers(self, deadline):
        """Does it take connections? False once it has ended."""
        ready = [str(bindir() / "pg_isready"), "-q", "-h", "127.0.0.1",
                 "-p", str(self.port), "-t", "1"]
        while self.process.poll() is None:
            if subprocess.run(ready, env=clean_env(), check=False,
                              stdout=subprocess.DEVNULL).returncode == 0:
                return True
            if time.monotonic() > deadline:
                raise Failed(f"not ready: {self.log()[-2000:]}")
            time.sleep(0.02)
        return False

    def another_chance(self, deadline):
        """After a failed start: the port was taken meanwhile, or processes of a
        killed server are still there. Anything else is final."""
        said = self.log()[-3000:]
        if time.monotonic() > deadline:
            raise Failed(said)
        if "Address already in use" in said and not self.port_is_given:
            self.port = free_port()
        elif "pre-existing shared memory block" not in said and \
                "another server might be running" not in said:
            raise Failed(said)
        time.sleep(0.1)

    def stop(self, mode="fast"):
        """smart, fast or immediate, as pg_ctl has them, or kill."""
        if self.is_running():
            self.process.send_signal(STOP_SIGNALS[mode])
        if self.process:
            self.process.wait(DEADLINE)
        return self

    def kill9(self):
        """SIGKILL for the postmaster and every process of it, as a crash."""
        pids = self.processes() if self.is_running() else []
        self.stop("kill")
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return self

    def restart(self, mode="fast", wait=True):
        return self.stop(mode).start(wait)

    def remove(self):
        """End it and remove its folder, unless the folder was given."""
        if self in clusters:
            clusters.remove(self)
        if self.is_running():
            for pid in [*self.processes(), self.process.pid]:
                self.resume(pid)
            self.stop("immediate")
        if self.guard:
            self.guard.kill()
            self.guard.wait()
            self.guard.stdin.close()
            self.guard = None
        if not self.keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def trust_socket(self):
        """From now on nobody is asked for a password there."""
        path = self.data / "pg_hba.conf"
        path.write_text(re.sub(r"(?m)^(local .*)scram-sha-256$", r"\1trust",
                               path.read_text()))
        self.query("SELECT pg_reload_conf()")
        return self

    # ---- looking and faults -------------------------------------------------------

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        return self.log_path.read_text("utf-8", "replace")

    def processes(self):
        """The server's processes, without the postmaster."""
        path = pathlib.Path(f"/proc/{self.pid}/task/{self.pid}/children")
        try:
            return [int(word) for word in path.read_text().split()]
        except OSError:
            return []

    def sessions(self):
        """[(process id, database)] of all client connections but this one."""
        rows = self.query("SELECT pid, datname FROM pg_stat_activity WHERE "
                          "backend_type = 'client backend' AND "
                          "pid <> pg_backend_pid()")
        return [(int(pid), name) for pid, name in rows]

    @staticmethod
    def pause(pid):
        """Stop one process of it (SIGSTOP); remove() lets it go on."""
        os.kill(pid, signal.SIGSTOP)

    @staticmethod
    def resume(pid):
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass

    # ---- databases ------------------------------------------------------------------

    def psql(self, sql, database="postgres", user=SUPERUSER):
        """The finished process; its status is the caller's business."""
        return subprocess.run(
            [str(bindir() / "psql"), "-XAtq", "-F", "\x1f", "-R", "\x1e",
             "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(self.port),
             "-U", user, "-d", database],
            input=sql, env=clean_env(PGPASSWORD=PASSWORD), text=True,
            capture_output=True, timeout=DEADLINE, check=False)

    def query(self, sql, database="postgres", user=SUPERUSER):
        """Rows, each a list of strings; NULL is ""."""
        done = self.psql(sql, database, user)
        if done.returncode != 0:
            raise Failed(f"{sql}: {done.stderr}")
        text = done.stdout.rstrip("\n")
        return [row.split("\x1f") for row in text.split("\x1e")] if text else []

    def value(self, sql, database="postgres"):
        [[value]] = self.query(sql, database)
        return value

    def create_database(self, name=None):
        """A fresh one that belongs to the role "reader"."""
        name = name or f"test_{next(self.numbers)}_{uuid.uuid4().hex[:8]}"
        self.query(f'CREATE DATABASE "{name}" OWNER {ROLE}')
        return Database(self, name)

    def database(self, name, create=False):
        """That one, made if it is missing and this is wanted."""
        if create and not self.query("SELECT 1 FROM pg_database WHERE datname = "
                                     f"'{name}'"):
            return self.create_database(name)
        return Database(self, name)

    def replica(self, **settings):
        """A started hot standby that follows this one."""
        copy = Cluster(**{**self.settings, **settings})
        copy.make_folder()
        copy.run("pg_basebackup", "-D", copy.data, "-R", "-X", "stream",
                 "--checkpoint=fast", "--no-sync", "-d",
                 f"host=127.0.0.1 port={self.port} user={SUPERUSER} "
                 f"password={PASSWORD}")
        return copy.start()


_shared = None


def shared():
    """The process's own cluster, started at first use; do not stop it."""
    global _shared
    if _shared is None or not _shared.is_running():
        _shared = Cluster().start()
    return _shared


@atexit.register
def remove_all():
    for cluster in list(clusters):
        cluster.remove()


# ---- command line -----------------------------------------------------------------


def exit_on_signals():
    """SIGTERM and SIGHUP end us as Ctrl-C does, with what atexit has to do."""
    def leave(number, _frame):
        sys.exit(128 + number)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, leave)


def run_command(args):
    """Run a command beside a fresh cluster; its exit status."""
    cluster = Cluster().start()
    env = {name.replace("DB_", "TEST_DB_"): value
           for name, value in cluster.create_database("test").env().items()}
    return subprocess.run(args.command, env={**os.environ, **env},
                          check=False).returncode


def serve(args):
    cluster = Cluster(folder=args.folder, port=args.port,
                      fsync="on", full_page_writes="on").start()
    database = cluster.database(args.database, create=True)
    for name, value in database.env().items():
        print(f"{name}={value}")
    sys.stdout.close()
    return cluster.process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    modes = parser.add_subparsers(dest="mode", required=True)
    run = modes.add_parser("run")
    run.add_argument("command", nargs=argparse.REMAINDER)
    server = modes.add_parser("serve")
    server.add_argument("--folder", type=pathlib.Path)
    server.add_argument("--port", type=int)
    server.add_argument("--database", default="stream_broadcast")
    args = parser.parse_args()
    exit_on_signals()
    try:
        return run_command(args) if args.mode == "run" else serve(args)
    except Failed as error:
        print(f"postgres.py: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
