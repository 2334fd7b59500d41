"""s3_daemons.py - programs of other people, started for tests in a folder

A Daemon is one program in the foreground with a log and a pid file. A Service
is some of them that together are one S3 server: start() brings it up, close()
takes everything away. What runs dies with whoever started it, unless it was
started detached. When we are root, it runs as nobody.
"""
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time

PATIENCE = float(os.environ.get("SCENARIO_PATIENCE", "1"))
USER = "nobody"
GROUP = "nogroup"


class Missing(Exception):
    """A program that has to be installed first."""


class Failed(Exception):
    """A server did not come up, or a command failed."""


def need(programs, packages):
    """Say which packages to install unless all programs are there."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [p for p in programs if not shutil.which(p, path=path)]
    if missing:
        raise Missing(f"{', '.join(missing)} not found; run scripts/setup.sh, "
                      f"or apt-get install --no-install-recommends {packages}")
    os.environ["PATH"] = path


def unprivileged():
    """Words before a command that make it run as a user without rights."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={USER}", f"--regid={GROUP}", "--clear-groups"]


def bound():
    """Words before a command that make it end with us.

    To the kernel "us" is the thread that starts it: let that be the main one.
    """
    return ["setpriv", "--pdeathsig=KILL"]


def free_ports(count):
    """Ports that nobody listens on now.

    From below the range that the kernel gives to outgoing connections, so that
    none of them is taken while a server is being restarted.
    """
    found = []
    while len(found) < count:
        port = random.randrange(20000, 32000)
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found


def wait_for(predicate, what, timeout=30):
    """Poll until it is true; its value."""
    deadline = time.monotonic() + timeout * PATIENCE
    while not (value := predicate()):
        if time.monotonic() > deadline:
            raise Failed(f"not within {timeout} s: {what}")
        time.sleep(0.02)
    return value


def answers(port):
    """Does anybody listen there?"""
    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex(("127.0.0.1", port)) == 0


class Daemon:
    """One program; `words` is its command, which must stay in the foreground."""

    def __init__(self, service, name, words):
        self.service = service
        self.name = name
        self.words = words
        self.log_path = service.folder / "log" / f"{name}.out"
        self.pid_path = service.folder / "run" / f"{name}.pid"
        self.process = None

    def start(self):
        prefix = unprivileged() + ([] if self.service.detached else bound())
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [*prefix, *self.words], stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, cwd=self.service.folder, start_new_session=True,
                env=self.service.environ())
        self.pid_path.write_text(f"{self.process.pid}\n")
        return self

    @property
    def pid(self):
        return self.process.pid

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def wait_port(self, port):
        """Until it listens; fails at once when it has ended."""
        def ready():
            if not self.is_running():
                raise Failed(f"{self.name} ended with "
                             f"{self.process.returncode}: {self.log()}")
            return answers(port)
        wait_for(ready, f"{self.name} listens on {port}")
        return self

    def log(self):
        return self.log_path.read_text("utf-8", "replace")[-2000:]

    def signal(self, number):
        if self.is_running():
            os.kill(self.pid, number)

    def pause(self):
        """SIGSTOP: it goes on existing and says nothing."""
        self.signal(signal.SIGSTOP)

    def resume(self):
        self.signal(signal.SIGCONT)

    def kill(self):
        """SIGKILL, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()


class Service:
    """One S3 server: daemons in a scratch folder of their own."""

    kind = ""               # rgw, swift
    programs = ()           # commands that must be there
    packages = ""           # and where they come from
    key = ""
    secret = ""
    region = "us-east-1"

    def __init__(self, folder=None, detached=False):
        need(self.programs, self.packages)
        self.detached = detached
        self.daemons = []
        self.folder = pathlib.Path(
            folder or tempfile.mkdtemp(prefix=f"s3-{self.kind}-")).resolve()
        self.prepare_folder()

    def prepare_folder(self):
        for name in ("", "log", "run"):
            self.make_folder(name)

    def make_folder(self, name):
        """One that the daemons may write into."""
        path = self.folder / name
        path.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            shutil.chown(path, USER, GROUP)
        path.chmod(0o755)
        return path

    def environ(self):
        """The daemons' environment: HOME must be one that they may read."""
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder),
                "LANG": "C.UTF-8"}

    def run(self, *words, check=True):
        """A command that ends, as the daemons' user; what it printed."""
        done = subprocess.run(
            [*unprivileged(), *map(str, words)], stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            cwd=self.folder, env=self.environ(), check=False)
        if check and done.returncode != 0:
            raise Failed(f"{' '.join(map(str, words))}: {done.stderr.strip()}")
        return done.stdout

    def daemon(self, name, *words):
        daemon = Daemon(self, name, list(map(str, words)))
        self.daemons.append(daemon)
        return daemon

    def close(self):
        """Kill the last one first, and remove the folder."""
        for daemon in reversed(self.daemons):
            daemon.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def kill_recorded(folder):
    """End what a detached service left running in its folder."""
    folder = pathlib.Path(folder).resolve()
    for path in sorted((folder / "run").glob("*.pid"), reverse=True):
        pid = int(path.read_text())
        try:
            where = os.readlink(f"/proc/{pid}/cwd")
            if pathlib.Path(where) == folder:
                os.kill(pid, signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError):
            pass
    shutil.rmtree(folder, ignore_errors=True)
