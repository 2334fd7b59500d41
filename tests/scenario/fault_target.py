"""fault_target.py - an HTTP peer that follows a script, right or wrong

    target = FaultTarget()                   a well-behaved reader
    target = FaultTarget(on_put=rst_at(1000))     one that misbehaves

A script is a function of an Exchange, called in the connection's own thread for
each request of its kind (on_put, on_commit, on_delete; on_other for the rest).
It reads as much as it wants, answers what it wants, and returns KEEP to go on
with the connection; anything else closes it. What came in is recorded in
target.legs: exactly the bytes, and whether their end was announced.
"""
import base64
import hashlib
import json
import re
import socket
import struct
import threading
import time

from client import DEADLINE, wait_until

KEEP = "keep"
KEEP_BYTES = 1 << 24            # content kept for each leg; the rest is hashed


class Gone(Exception):
    """The peer closed or reset the connection."""


class Leg:
    """One request that came in, and how its body ended."""

    def __init__(self, method, target, headers):
        self.method = method
        self.target = target
        self.headers = headers      # lower-case name -> value
        self.body = bytearray()     # the first KEEP_BYTES of the content
        self.size = 0               # content bytes received
        self.hash = hashlib.sha256()
        self.terminated = False     # last chunk seen, or the length complete
        self.ended = None           # complete, eof, reset, or closed (by us)
        self.status = None          # of our final answer
        self.cancelled = False      # its object was deleted meanwhile

    @property
    def id(self):
        found = re.match(r"/objects/([^/?]+)", self.target)
        return found.group(1) if found else None

    @property
    def announced(self):
        value = self.headers.get("content-length")
        return None if value is None else int(value)

    @property
    def is_chunked(self):
        return self.headers.get("transfer-encoding", "") == "chunked"

    @property
    def sha256(self):
        return self.hash.hexdigest()

    def __repr__(self):
        return f"<{self.method} {self.target} {self.size} bytes, " \
               f"terminated={self.terminated}, {self.ended}>"


class Exchange:
    """What a script works with: one request on one connection."""

    def __init__(self, target, sock, buffer, leg):
        self.target = target
        self.sock = sock
        self.buffer = buffer
        self.leg = leg
        self.chunk_left = 0
        self.in_chunk = False
        if not leg.is_chunked and not leg.announced:
            self.finish()

    # ---- the body ---------------------------------------------------------------

    def fill(self):
        """Receive more into the buffer; raises Gone at the end."""
        try:
            data = self.sock.recv(262144)
        except (ConnectionResetError, BrokenPipeError):
            self.leg.ended = self.leg.ended or "reset"
            raise Gone from None
        if not data:
            self.leg.ended = self.leg.ended or "eof"
            raise Gone
        self.buffer += data

    def finish(self):
        self.leg.terminated = True
        self.leg.ended = "complete"

    def take(self, n):
        """Move up to n content bytes from the buffer to the leg."""
        data = bytes(self.buffer[:n])
        del self.buffer[:n]
        leg = self.leg
        leg.hash.update(data)
        if leg.size < KEEP_BYTES:
            leg.body += data[:KEEP_BYTES - leg.size]
        leg.size += len(data)
        return len(data)

    def line(self):
        while b"\r\n" not in self.buffer:
            self.fill()
        text, _, rest = self.buffer.partition(b"\r\n")
        self.buffer[:] = rest
        return bytes(text)

    def next_chunk(self):
        if self.in_chunk:
            if self.line():
                raise AssertionError("no CRLF after a chunk")
        self.chunk_left = int(self.line(), 16)
        self.in_chunk = self.chunk_left > 0
        if not self.in_chunk:
            while self.line():
                pass
            self.finish()

    def some(self, n):
        """Read at least one and at most n content bytes; 0 at the end."""
        leg = self.leg
        if leg.terminated:
            return 0
        if leg.is_chunked and not self.chunk_left:
            self.next_chunk()
            if leg.terminated:
                return 0
        left = self.chunk_left if leg.is_chunked else leg.announced - leg.size
        if not self.buffer:
            self.fill()
        got = self.take(min(n, left, len(self.buffer)))
        if leg.is_chunked:
            self.chunk_left -= got
        elif leg.size == leg.announced:
            self.finish()
        return got

    def read(self, n):
        """Read n content bytes (or to the end)."""
        while n > 0:
            got = self.some(n)
            if not got:
                return
            n -= got

    def read_all(self):
        while not self.leg.terminated:
            self.some(1 << 20)

    # ---- the answer -------------------------------------------------------------

    def raw(self, data):
        try:
            self.sock.sendall(data)
        except (ConnectionResetError, BrokenPipeError):
            raise Gone from None

    def proceed(self):
        """100 Continue, if it is waited for."""
        if self.leg.headers.get("expect", "").lower() == "100-continue":
            self.raw(b"HTTP/1.1 100 Continue\r\n\r\n")

    def answer(self, status, body=b"", *fields):
        if isinstance(body, dict):
            body = json.dumps(body).encode()
        if isinstance(body, str):
            body = body.encode()
        self.leg.status = status
        lines = [f"HTTP/1.1 {status} Scripted", *fields]
        if status != 204:
            lines.append(f"Content-Length: {len(body)}")
        self.raw("\r\n".join([*lines, "", ""]).encode() + body)

    # ---- ends -------------------------------------------------------------------

    def reset(self):
        self.leg.ended = self.leg.ended or "closed"
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                             struct.pack("ii", 1, 0))

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)

    def drain(self):
        """Swallow everything until the peer closes."""
        try:
            while True:
                self.buffer.clear()
                self.fill()
        except Gone:
            pass

    def stall(self):
        """Do nothing until the test ends."""
        self.target.released.wait()

    def gate(self):
        """Wait until the test calls target.open_gate()."""
        self.target.gate.wait()


# ---- scripts ------------------------------------------------------------------------

def stage(ex):
    """A good reader's PUT: take all, say what it was."""
    ex.proceed()
    ex.read_all()
    return ex.target.staged_answer(ex)


def plain(ex):
    """A good plain endpoint."""
    ex.proceed()
    ex.read_all()
    ex.answer(200, "stored\n")
    return KEEP


def never_answer(ex):
    """Accept and say nothing, not even 100 Continue."""
    ex.stall()


def stall_at(n):
    def script(ex):
        ex.proceed()
        ex.read(n)
        ex.stall()
    return script


def gate_at(n):
    """Take n bytes, wait for target.open_gate(), then go on as a good reader."""
    def script(ex):
        ex.proceed()
        ex.read(n)
        ex.gate()
        ex.read_all()
        return ex.target.staged_answer(ex)
    return script


def rst_at(n):
    def script(ex):
        ex.proceed()
        ex.read(n)
        ex.reset()
    return script


def fin_at(n):
    """Close our side after n bytes and swallow the rest."""
    def script(ex):
        ex.proceed()
        ex.read(n)
        ex.half_close()
        ex.drain()
    return script


def half_close_at(n):
    """Close our side after n bytes and read nothing any more."""
    def script(ex):
        ex.proceed()
        ex.read(n)
        ex.half_close()
        ex.stall()
    return script


def early(status, at=0, then="stall", body="scripted early answer\n"):
    """Answer before the body's end; then stall, drain, close or rst."""
    def script(ex):
        ex.proceed()
        ex.read(at)
        ex.answer(status, body)
        if then == "rst":
            ex.reset()
        elif then == "drain":
            ex.drain()
        elif then == "close":
            pass
        elif then == "read":
            ex.read_all()
            return KEEP
        else:
            ex.stall()
        return None
    return script


def early_staged(at, then="read"):
    """200 with a staged object's text before it was received."""
    def script(ex):
        ex.proceed()
        ex.read(at)
        ex.answer(200, {"id": ex.leg.id, "size": ex.leg.size,
                        "sha256": ex.leg.sha256, "state": "staged"})
        if then == "read":
            ex.read_all()
            return KEEP
        return None
    return script


def refuse(status, body="scripted refusal\n"):
    """Instead of 100 Continue."""
    def script(ex):
        ex.answer(status, body)
    return script


def refuse_after_body(status, body="scripted refusal\n"):
    def script(ex):
        ex.proceed()
        ex.read_all()
        ex.answer(status, body)
        return KEEP
    return script


def say(data, at=0, repeat=1, read_all=True):
    """Send raw bytes as the answer, after the body (or `at` bytes of it)."""
    def script(ex):
        ex.proceed()
        if read_all:
            ex.read_all()
        else:
            ex.read(at)
        for _ in range(repeat):
            ex.raw(data)
        ex.leg.ended = ex.leg.ended or "closed"
    return script


def endless_answer(ex):
    """A 200 whose body never ends."""
    ex.proceed()
    ex.read_all()
    ex.raw(b"HTTP/1.1 200 OK\r\n\r\n")
    while not ex.target.released.is_set():
        ex.raw(b"x" * 65536)


def interim_flood(ex):
    """Interim answers without end."""
    ex.proceed()
    ex.read_all()
    while not ex.target.released.is_set():
        ex.raw(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 100)


def drip(rate, piece=65536):
    """Read `rate` bytes a second."""
    def script(ex):
        ex.proceed()
        began = time.monotonic()
        while ex.some(piece):
            ahead = ex.leg.size / rate - (time.monotonic() - began)
            if ahead > 0 and ex.target.released.wait(ahead):
                return None
        return ex.target.staged_answer(ex)
    return script


def lie_about(**members):
    """Stage, but answer other members than the true ones."""
    def script(ex):
        ex.proceed()
        ex.read_all()
        return ex.target.staged_answer(ex, **members)
    return script


def accept_commit(ex):
    """A good reader's commit: durable, visible, idempotent."""
    ex.read_all()
    return ex.target.commit_answer(ex)


def lose_commit_answer(ex):
    """Commit, but reset the connection instead of the answer, once."""
    ex.read_all()
    if ex.target.n_lost == 0:
        ex.target.n_lost += 1
        ex.target.commit(ex)
        ex.reset()
        return None
    return ex.target.commit_answer(ex)


def refuse_commit(status):
    def script(ex):
        ex.read_all()
        ex.answer(status, "scripted refusal of the commit\n")
        return KEEP
    return script


def accept_delete(ex):
    ex.read_all()
    ex.target.forget(ex.leg.id)
    ex.answer(204)
    return KEEP


def not_found(ex):
    ex.read_all()
    ex.answer(404, "no such thing\n")
    return KEEP


# ---- the peer -----------------------------------------------------------------------

class FaultTarget:
    """A listening peer; `name` is what a host list calls it."""

    def __init__(self, on_put=stage, on_commit=accept_commit,
                 on_delete=accept_delete, on_post=plain, on_other=not_found,
                 receive_buffer=0, listen=True):
        self.scripts = {"PUT": on_put, "DELETE": on_delete, "POST": on_post}
        self.on_commit = on_commit
        self.on_other = on_other
        self.legs = []
        self.staged = {}            # id -> (size, sha256)
        self.committed = {}
        self.errors = []
        self.n_lost = 0
        self.n_connections = 0
        self.connections = []
        self.threads = []
        self.lock = threading.Lock()
        self.released = threading.Event()
        self.gate = threading.Event()
        self.sock = socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF,
                                 receive_buffer)
        self.sock.bind(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        self.address = self.name = f"127.0.0.1:{self.port}"
        if listen:
            self.sock.listen(128)
            self.spawn(self.accept)

    # ---- asking -----------------------------------------------------------------

    def puts(self):
        with self.lock:
            return [leg for leg in self.legs if leg.method == "PUT"]

    def requests(self, method, suffix=""):
        with self.lock:
            return [leg for leg in self.legs if leg.method == method
                    and leg.target.endswith(suffix)]

    def commits(self):
        return self.requests("POST", "/commit")

    def deletes(self):
        return self.requests("DELETE")

    def wait_put(self, size=0, index=0):
        """The index-th PUT, once `size` bytes of it have arrived."""
        def arrived():
            puts = self.puts()
            return len(puts) > index and puts[index].size >= size and \
                puts[index]
        return wait_until(arrived, f"{size} bytes of a PUT at {self.name}")

    def wait_ended(self, index=0):
        """The index-th PUT, once its body has ended somehow."""
        leg = self.wait_put(index=index)
        wait_until(lambda: leg.ended, f"the end of {leg}")
        return leg

    # ---- answers of a good reader -----------------------------------------------

    def staged_answer(self, ex, **lies):
        leg = ex.leg
        if leg.id is None:
            ex.answer(200, "stored\n")
            return KEEP
        with self.lock:
            if not leg.cancelled:
                self.staged[leg.id] = (leg.size, leg.sha256)
        ex.answer(200, {"id": leg.id, "size": leg.size, "sha256": leg.sha256,
                        "state": "staged", **lies},
                  "Content-Type: application/json")
        return KEEP

    def forget(self, object_id):
        """Delete, also what is being received: as a reader does."""
        with self.lock:
            self.staged.pop(object_id, None)
            self.committed.pop(object_id, None)
            for leg in self.legs:
                if leg.id == object_id:
                    leg.cancelled = True

    def commit(self, ex):
        """Commit; the status to answer."""
        leg = ex.leg
        wanted = re.match(r"sha-256=:([^:]*):",
                          leg.headers.get("repr-digest", ""))
        digest = base64.b64decode(wanted.group(1)).hex() if wanted else None
        with self.lock:
            have = self.staged.get(leg.id) or self.committed.get(leg.id)
            if not have:
                return 404, (0, "")
            if have[1] != digest:
                return 409, have
            status = 200 if leg.id in self.committed else 201
            self.committed[leg.id] = have
            self.staged.pop(leg.id, None)
            return status, have

    def commit_answer(self, ex):
        status, have = self.commit(ex)
        ex.answer(status, {"id": ex.leg.id, "size": have[0], "sha256": have[1],
                           "state": "committed"},
                  "Content-Type: application/json")
        return KEEP

    # ---- running ----------------------------------------------------------------

    def spawn(self, function, *args):
        thread = threading.Thread(target=function, args=args, daemon=True)
        with self.lock:
            self.threads.append(thread)
        thread.start()

    def accept(self):
        while True:
            try:
                sock, _ = self.sock.accept()
            except OSError:
                return
            with self.lock:
                self.n_connections += 1
                self.connections.append(sock)
            self.spawn(self.serve, sock)

    def serve(self, sock):
        buffer = bytearray()
        try:
            while self.serve_one(sock, buffer) == KEEP:
                pass
        except (Gone, OSError):
            pass
        except Exception as error:      # for the test that owns this target
            self.errors.append(error)
            raise
        finally:
            sock.close()
            with self.lock:
                self.connections.remove(sock)

    def serve_one(self, sock, buffer):
        while b"\r\n\r\n" not in buffer:
            data = sock.recv(65536)
            if not data:
                return None
            buffer += data
        text, _, rest = bytes(buffer).partition(b"\r\n\r\n")
        buffer[:] = rest
        start, *fields = text.decode("latin-1").split("\r\n")
        method, target, _ = start.split(" ")
        headers = {}
        for field in fields:
            name, _, value = field.partition(":")
            headers[name.lower()] = value.strip()
        leg = Leg(method, target, headers)
        with self.lock:
            self.legs.append(leg)
        script = self.scripts.get(method, self.on_other)
        if method == "POST" and target.endswith("/commit"):
            script = self.on_commit
        return script(Exchange(self, sock, buffer, leg))

    def open_gate(self):
        self.gate.set()

    def close(self):
        """Release whoever stalls, close everything, wait for the threads."""
        self.released.set()
        self.gate.set()
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()
        with self.lock:
            open_ones = list(self.connections)
            threads = list(self.threads)
        for sock in open_ones:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in threads:
            thread.join(DEADLINE)
