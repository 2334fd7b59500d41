"""harness.py - real broadcasters and readers for scenarios

A scenario is a unittest method of a Scenario: it starts programs and scripted
targets with self.reader(), self.broadcaster() and self.fault(), and everything
is stopped by pid at its end, however it ends. At that end every program that
still runs gets SIGTERM and must exit with status 0 and without a sanitizer's
report.

Environment: SCENARIO_BIN      folder of the programs (dist)
             SCENARIO_MODE     release, asan, … (for what a mode cannot measure)
             SCENARIO_WRAPPER  command that runs each program ("valgrind -q")
             SCENARIO_KEEP     keep the scratch folders
             SCENARIO_PATIENCE factor for every deadline (1)
"""
import atexit
import functools
import hashlib
import os
import pathlib
import random
import re
import resource
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest

from client import DEADLINE, PATIENCE, Client, Closed, fetch, get, wait_until
from fault_target import FaultTarget

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BIN = (ROOT / os.environ.get("SCENARIO_BIN", "dist")).resolve()
MODE = os.environ.get("SCENARIO_MODE", "release")
WRAPPER = shlex.split(os.environ.get("SCENARIO_WRAPPER", ""))
IS_INSTRUMENTED = MODE in ("asan", "ubsan", "tsan", "valgrind", "coverage")
PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR", "ASAN_OPTIONS", "UBSAN_OPTIONS",
             "TSAN_OPTIONS", "LSAN_OPTIONS", "GCOV_PREFIX")
REPORTS = re.compile(r"AddressSanitizer|LeakSanitizer|ThreadSanitizer"
                     r"|runtime error:|CHECK failed|==\d+== .*(Invalid|lost)")

# Crowds need descriptors, here and in the programs, which inherit the limit.
HARD_FILES = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (HARD_FILES, HARD_FILES))

running = {}            # pid -> Program; what atexit kills


@atexit.register
def kill_all():
    for program in list(running.values()):
        program.kill()


def payload(size, seed=1):
    """Bytes that differ at every place and repeat from run to run."""
    return random.Random(seed).randbytes(size)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Port:
    """A free port, kept from others for as long as we hold it.

    The socket that holds it is bound but does not listen; SO_REUSEPORT lets
    the program bind it as well, as long as it is ours too.
    """

    def __init__(self):
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.sock.bind(("127.0.0.1", 0))
        self.number = self.sock.getsockname()[1]

    def release(self):
        self.sock.close()


class Program:
    """A running broadcaster or reader."""

    def __init__(self, kind, folder, env, args=(), wrapper=(), port=None):
        self.kind = kind
        self.held = port or Port()
        self.port = self.held.number
        self.address = self.name = f"127.0.0.1:{self.port}"
        self.folder = folder
        self.settings = env
        self.args = args
        self.wrapper = [*wrapper, *WRAPPER]
        self.log_path = folder / "log"
        self.status = None
        self.may_fail = False       # the test looks at the exit itself
        self.process = None
        self.tracer = None

    # ---- life -------------------------------------------------------------------

    def start(self):
        env = {k: os.environ[k] for k in PASSED_ON if k in os.environ}
        env[f"{self.kind.upper()}_HTTP_PORT"] = self.address
        env.update({k: str(v) for k, v in self.settings.items()
                    if v is not None})
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.command(), env=env, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, cwd=self.folder, start_new_session=True)
        self.status = None
        running[self.process.pid] = self
        return self

    def command(self):
        return [*self.wrapper, str(BIN / self.kind), *self.args]

    @property
    def pid(self):
        return self.process.pid

    def wait_live(self, path="/healthz"):
        """Until it answers 200 there; fails at once if it has ended."""
        def answers():
            if self.process.poll() is not None:
                raise AssertionError(f"{self.kind} ended with "
                                     f"{self.process.returncode}: {self.log()}")
            try:
                return get(self.port, path).status == 200
            except (OSError, Closed):
                return False
        wait_until(answers, f"{self.kind} answers {path}", 30)
        return self

    def wait_ready(self):
        return self.wait_live("/readyz")

    def signal(self, number):
        os.kill(self.pid, number)
        return self

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def wait(self, timeout=DEADLINE):
        """Its exit status; negative for a signal."""
        self.status = self.process.wait(timeout * PATIENCE)
        self.end_tracing()
        running.pop(self.pid, None)
        return self.status

    def stop(self, timeout=DEADLINE):
        """SIGTERM; the exit status."""
        self.end_tracing()
        if self.is_running():
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def kill(self):
        """SIGKILL."""
        self.may_fail = True
        if self.is_running():
            self.signal(signal.SIGKILL)
        return self.wait()

    def restart(self):
        """Start it again, same port, same folder."""
        return self.start()

    def inject(self, *rules):
        """Have strace inject faults into it from now on ("fsync:error=EIO")."""
        calls = ",".join(sorted({rule.split(":")[0] for rule in rules}))
        options = [word for rule in rules for word in ("-e", f"inject={rule}")]
        self.tracer = subprocess.Popen(
            ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}",
             *options, "-p", str(self.pid)],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        wait_until(lambda: self.is_traced() or self.tracer.poll() is not None,
                   "strace is attached")
        if self.tracer.poll() is not None:
            raise unittest.SkipTest(
                f"strace: {self.tracer.communicate()[1].strip()}")
        return self

    def is_traced(self):
        """Every thread of it?"""
        return all("TracerPid:\t0" not in path.read_text()
                   for path in pathlib.Path(f"/proc/{self.pid}/task")
                   .glob("*/status"))

    def end_tracing(self):
        if self.tracer:
            self.tracer.terminate()
            self.tracer.communicate()
            self.tracer = None

    # ---- looking ----------------------------------------------------------------

    def log(self):
        return self.log_path.read_text("utf-8", "replace")

    def log_lines(self, *words):
        return [line for line in self.log().splitlines()
                if all(w in line for w in words)]

    def proc(self, name):
        return pathlib.Path(f"/proc/{self.pid}/{name}").read_text()

    def rss(self, field="VmRSS"):
        """Bytes; VmHWM is the highest it ever was."""
        found = re.search(rf"{field}:\s+(\d+) kB", self.proc("status"))
        return int(found.group(1)) * 1024

    def cpu(self):
        """Seconds of user and system time so far."""
        fields = self.proc("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def metric(self, name):
        """Sum of a family's (or one series') values."""
        text = get(self.port, "/metrics").body.decode()
        values = [line.rpartition(" ")[2] for line in text.splitlines()
                  if re.match(rf"{re.escape(name)}(\{{| )", line)]
        if not values:
            raise AssertionError(f"no metric {name}")
        return sum(float(v) for v in values)


class Reader(Program):
    """A reader, and what is in its store."""

    @property
    def store(self):
        return self.folder / "store"

    def objects(self):
        """Everything visible: id -> entry of the listing."""
        answer = get(self.port, "/objects?limit=1000", *self.auth())
        if answer.status != 200:
            raise AssertionError(f"listing: {answer}")
        page = answer.json()
        return {entry["id"]: entry for entry in page["objects"]}

    def auth(self):
        token = self.settings.get("READER_TOKEN")
        return [f"Authorization: Bearer {token}"] if token else []

    def content(self, object_id, *fields):
        return get(self.port, f"/objects/{object_id}", *self.auth(), *fields)

    def leftovers(self):
        """Folders of the store that belong to no visible object."""
        visible = set(self.objects())
        return [p for p in [*self.store.glob("staging/*"),
                            *self.store.glob("objects/*/*")]
                if p.parent.name == "staging" or p.name not in visible]

    def staged(self):
        """Ids of what is on its way, and how many bytes of it are there."""
        return {p.parent.name: p.stat().st_size
                for p in self.store.glob("staging/*/data")}


class Scenario(unittest.TestCase):
    """Base of every scenario."""

    maxDiff = 2000

    def setUp(self):
        base = ROOT / "dist" / "scenario"
        base.mkdir(parents=True, exist_ok=True)
        self.folder = pathlib.Path(tempfile.mkdtemp(
            prefix=f"{self._testMethodName[:40]}-", dir=base))
        self.programs = []
        self.faults = []
        self.ports = []
        self.addCleanup(self.tear_everything_down)

    # ---- making peers -----------------------------------------------------------

    def scratch(self, name):
        path = self.folder / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def program(self, cls, kind, settings, **options):
        number = sum(p.kind == kind for p in self.programs) + 1
        program = cls(kind, self.scratch(f"{kind}-{number}"), settings,
                      **options)
        self.programs.append(program)
        return program

    def reader(self, wait=True, wrapper=(), args=(), port=None, **settings):
        """A reader with a file store of its own, ready."""
        reader = self.program(Reader, "reader", settings, wrapper=wrapper,
                              args=args, port=port)
        defaults = {"READER_STORE": "file", "READER_FILE_DIR": reader.store,
                    "READER_THREADS": 1, "READER_DISK_THREADS": 2}
        reader.settings = {**defaults, **settings}
        reader.store.mkdir(exist_ok=True)
        reader.start()
        return reader.wait_ready() if wait else reader

    def readers(self, n, **settings):
        started = [self.reader(wait=False, **settings) for _ in range(n)]
        return [reader.wait_ready() for reader in started]

    def broadcaster(self, targets, wait=True, wrapper=(), args=(), port=None,
                    **settings):
        """A broadcaster for these targets (peers or host list entries)."""
        entries = [t if isinstance(t, str) else t.address for t in targets]
        settings = {"BROADCASTER_HOST_LIST": ";".join(entries),
                    "BROADCASTER_THREADS": 1, **settings}
        program = self.program(Program, "broadcaster", settings,
                               wrapper=wrapper, args=args, port=port)
        program.start()
        return program.wait_live() if wait else program

    def fault(self, *args, **kwargs):
        target = FaultTarget(*args, **kwargs)
        self.faults.append(target)
        return target

    def dead_port(self):
        """A port where nobody listens, as long as the test runs."""
        port = Port()
        self.ports.append(port)
        return port.number

    # ---- uploading --------------------------------------------------------------

    def put(self, broadcaster, data, *fields, name="x.bin"):
        """One raw upload on its own connection; the answer."""
        return fetch(broadcaster.port, "PUT", f"/broadcast/{name}", *fields,
                     body=data)

    def upload(self, broadcaster, name="x.bin"):
        """A connection to upload on by hand."""
        return Client(broadcaster.port)

    # ---- invariants -------------------------------------------------------------

    def assert_committed(self, response, readers, data):
        """201, and every reader shows exactly these bytes under the id."""
        self.assertEqual(response.status, 201, response)
        receipt = response.data
        self.assertEqual(receipt["size"], len(data))
        self.assertEqual(receipt["sha256"], sha256(data))
        for reader in readers:
            self.assert_stored(reader, receipt["id"], data)
            entry = response.target(reader.name)
            self.assertEqual(entry["state"], "committed", response)
            self.assertEqual(entry["bytes"], len(data))
            self.assertEqual(entry["sha256"], sha256(data))
        return receipt

    def assert_stored(self, reader, object_id, data):
        answer = reader.content(object_id)
        self.assertEqual(answer.status, 200, answer)
        self.assertEqual(len(answer.body), len(data))
        self.assertEqual(sha256(answer.body), sha256(data))

    def assert_nothing_visible(self, *readers):
        for reader in readers:
            self.assertEqual(reader.objects(), {}, reader.name)

    def assert_nothing_left(self, *readers):
        """Nothing visible, and soon nothing staged."""
        self.assert_nothing_visible(*readers)
        for reader in readers:
            wait_until(lambda r=reader: not r.leftovers(),
                       f"{reader.name} removes what was staged")

    def assert_idle(self, broadcaster):
        """No upload runs any more."""
        wait_until(lambda: not running_uploads(broadcaster),
                   "the broadcaster has no upload left")

    # ---- the end ----------------------------------------------------------------

    def show_programs(self):
        """What the programs said; called by run.py after a failure."""
        for program in self.programs:
            if program.log_path.exists():
                lines = program.log().splitlines()[-15:]
                print(f"--- log of {program.kind} {program.address} "
                      f"(status {program.status}):", *lines, sep="\n    ")
        for target in self.faults:
            print(f"--- target {target.name}: {target.legs[:8]}")

    def stop_programs(self):
        """Broadcasters first; the complaints about how they ended."""
        complaints = []
        started = [p for p in self.programs if p.process]
        for program in sorted(started, key=lambda p: p.kind):
            try:
                status = program.stop()
            except subprocess.TimeoutExpired:
                program.kill()
                complaints.append(f"{program.kind} ignored SIGTERM")
                continue
            if status != 0 and not program.may_fail:
                complaints.append(f"{program.kind} ended with {status}")
            report = REPORTS.search(program.log())
            if report:
                complaints.append(f"{program.kind}: {report.group(0)} in "
                                  f"{program.log()}")
        return complaints

    def tear_everything_down(self):
        for target in self.faults:
            target.close()
        complaints = self.stop_programs()
        for program in self.programs:
            program.held.release()
        for port in self.ports:
            port.release()
        errors = [e for t in self.faults for e in t.errors]
        if not os.environ.get("SCENARIO_KEEP") and not complaints:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.assertEqual(complaints, [])
        self.assertEqual(errors, [], "a target's script failed")


def running_uploads(broadcaster):
    """What GET /broadcast lists."""
    token = broadcaster.settings.get("BROADCASTER_TOKEN")
    fields = [f"Authorization: Bearer {token}"] if token else []
    answer = get(broadcaster.port, "/broadcast", *fields)
    if answer.status != 200:
        raise AssertionError(f"GET /broadcast: {answer}")
    found = answer.json()
    for key in ("data", "uploads"):
        if isinstance(found, dict) and key in found:
            found = found[key]
    return found


def slow(reason):
    """Not under sanitizers or valgrind, where figures mean nothing."""
    def decorate(function):
        @functools.wraps(function)
        def wrapped(self, *args):
            if IS_INSTRUMENTED:
                self.skipTest(f"{MODE}: {reason}")
            return function(self, *args)
        return wrapped
    return decorate
