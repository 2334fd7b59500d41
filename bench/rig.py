"""rig.py - what all benchmarks share: programs, figures, tables

A benchmark is a module with run(report, rig, options). Everything compared is
measured in the same run, in turns (A B A B …), and summed up by medians. The
programs are started by the scenarios' harness; a Rig stops them by pid.
"""
import contextlib
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "scenario"), str(ROOT / "scripts")]

from client import wait_until           # noqa: E402 (the path is set above)
from harness import Program, Reader     # noqa: E402

TOOLS = ROOT / "dist" / "obj" / "release" / "bench"
RESULTS = ROOT / "dist" / "bench"
TICK = os.sysconf("SC_CLK_TCK")
KIB, MIB, GIB, GB = 1 << 10, 1 << 20, 1 << 30, 10**9


# ---- figures -----------------------------------------------------------------

def median(values):
    return statistics.median(list(values))


def thousands(value):
    return f"{value:,.0f}"


class Report:
    """Prints, and keeps in a file what it prints."""

    def __init__(self, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = open(path, "w", encoding="utf-8")
        self.n_missed = 0

    def line(self, text=""):
        print(text, flush=True)
        self.file.write(text + "\n")
        self.file.flush()

    def title(self, text):
        self.line()
        self.line(text)
        self.line("=" * len(text))

    def table(self, header, rows):
        """The first column is text, the others are figures."""
        rows = [[str(cell) for cell in row] for row in rows]
        widths = [max(len(row[i]) for row in [header, *rows])
                  for i in range(len(header))]
        for row in [header, ["-" * w for w in widths], *rows]:
            cells = [row[0].ljust(widths[0])]
            cells += [c.rjust(w) for c, w in zip(row[1:], widths[1:])]
            self.line("  ".join(cells).rstrip())

    def target(self, what, value, limit, shown, at_most=True):
        """Compare, and say so."""
        reached = value <= limit if at_most else value >= limit
        self.n_missed += not reached
        self.line(f"target: {what} {'<=' if at_most else '>='} {limit:g}: "
                  f"{shown} {'reached' if reached else 'missed'}")

    def fact(self, what, is_true):
        self.n_missed += not is_true
        self.line(f"target: {what}: {'reached' if is_true else 'missed'}")


# ---- CPU time ------------------------------------------------------------------

def cpu_of(pid):
    """(user, system) seconds of a running process, all its threads."""
    stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    fields = stat.rpartition(")")[2].split()
    return int(fields[11]) / TICK, int(fields[12]) / TICK


def run_time_of(pid):
    """Seconds on a CPU, exactly, of the threads that it has now."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


class CpuMeter:
    """CPU time of a process within a with block."""

    def __init__(self, pid):
        self.pid = pid

    def __enter__(self):
        self.before = (*cpu_of(self.pid), run_time_of(self.pid))
        return self

    def __exit__(self, *exc):
        user, system, total = (
            now - then for now, then in
            zip((*cpu_of(self.pid), run_time_of(self.pid)), self.before))
        share = user / (user + system) if user + system else 0
        self.total = total
        self.user = total * share


# ---- programs --------------------------------------------------------------------

class Rig(contextlib.AbstractContextManager):
    """Programs in a scratch folder; all stopped at the end of the with block."""

    def __init__(self):
        RESULTS.mkdir(parents=True, exist_ok=True)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="scratch-",
                                                    dir=RESULTS))
        self.programs = []

    def __exit__(self, failed, *_):
        for program in sorted(self.programs, key=lambda p: p.kind):
            if failed:
                program.kill()
            else:
                self.stop(program)
        shutil.rmtree(self.folder, ignore_errors=True)

    def scratch(self, name):
        path = self.folder / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def start(self, cls, kind, settings, **options):
        folder = self.scratch(f"{kind}-{len(self.programs) + 1}")
        program = cls(kind, folder, settings, **options).start()
        self.programs.append(program)
        return program

    def stop(self, program):
        if program.is_running():
            program.stop()
        program.held.release()

    def reader(self, **settings):
        settings = {"READER_STORE": "discard", "READER_THREADS": 1,
                    "READER_LOG_LEVEL": "warn", **settings}
        reader = self.start(Reader, "reader", settings)
        return reader.wait_ready()

    def file_reader(self, **settings):
        folder = self.scratch(f"store-{len(self.programs) + 1}")
        reader = self.reader(READER_STORE="file", READER_FILE_DIR=folder,
                             **settings)
        reader.settings["READER_FILE_DIR"] = folder
        return reader

    def readers(self, n, **settings):
        return [self.reader(**settings) for _ in range(n)]

    def broadcaster(self, targets, **settings):
        settings = {
            "BROADCASTER_HOST_LIST": ";".join(t.address for t in targets),
            "BROADCASTER_THREADS": 1, "BROADCASTER_LOG_LEVEL": "warn",
            **settings}
        return self.start(Program, "broadcaster", settings).wait_live()


def send(address, size, count=1, connections=1, path="/broadcast/bench",
         chunked=False):
    """Run bench/send; its figures."""
    command = [TOOLS / "send", "-p", path, "-s", str(size), "-n", str(count),
               "-c", str(connections), *(["-C"] if chunked else []), address]
    run = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if run.returncode != 0:
        raise SystemExit(f"bench: send to {address} failed")
    return json.loads(run.stdout)


def download(url):
    """MB/s of one curl."""
    done = subprocess.run(
        ["curl", "-sSf", "-o", "/dev/null", "-w", "%{speed_download}", url],
        check=True, text=True, stdout=subprocess.PIPE)
    return float(done.stdout) / 1e6


def growth_by_players(programs, url, n):
    """Bytes by which the RSS of each grows at most while n players read url,
    1 MB/s each, for five seconds."""
    before = [program.rss() for program in programs]
    players = [subprocess.Popen(["curl", "-sSf", "-o", "/dev/null",
                                 "--limit-rate", "1M", url])
               for _ in range(n)]
    highest = before
    for _ in range(50):
        time.sleep(0.1)
        highest = [max(pair) for pair in
                   zip(highest, (program.rss() for program in programs))]
    n_playing = sum(player.poll() is None for player in players)
    for player in players:
        player.kill()
        player.wait()
    if n_playing < n:
        raise RuntimeError(f"{n_playing} of {n} players play")
    return [after - first for after, first in zip(highest, before)]


NGINX_CONF = """\
{user}worker_processes 1;
daemon off;
error_log stderr warn;
pid nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    keepalive_requests 100000000;
    {http}
}}
"""


class Nginx:
    """nginx with one worker; `http` stands within http {}, with PORT in it."""

    def __init__(self, rig, http):
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.port = sock.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        folder = rig.scratch("nginx")
        user = "user root;\n" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(NGINX_CONF.format(
            user=user, http=http.replace("PORT", str(self.port))))
        self.log = open(folder / "log", "wb")
        self.process = subprocess.Popen(
            ["nginx", "-p", folder, "-c", "nginx.conf"],
            stdout=self.log, stderr=self.log)
        wait_until(self.answers, "nginx listens")

    def answers(self):
        if self.process.poll() is not None:
            raise SystemExit("bench: nginx has ended")
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
            return True
        except OSError:
            return False

    def worker(self):
        """The process id of who does the work."""
        pid = self.process.pid
        path = pathlib.Path(f"/proc/{pid}/task/{pid}/children")
        return int(path.read_text().split()[0])

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()


class Relay:
    """The bare loop to compare with; lives for one upload."""

    def __init__(self, readers, wrapper=(), buffers=256 * KIB):
        command = [*wrapper, TOOLS / "relay", "-r", str(buffers), "-s",
                   str(buffers), *[r.address for r in readers]]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE,
                                        text=True)
        port = self.process.stdout.readline().split()[1]
        self.address = f"127.0.0.1:{port}"

    def wait(self):
        """Its CPU time as {"user", "system"}."""
        usage = json.loads(self.process.stdout.readline())
        if self.process.wait() != 0:
            raise SystemExit("bench: the bare loop failed")
        return usage
