"""client.py - clients under full control: raw sockets and curl

Client speaks HTTP/1.1 byte by byte: it can stop anywhere, lie about lengths,
reset, half-close. Everything has a deadline; nothing sleeps to get an order.
"""
import json
import os
import select
import socket
import struct
import subprocess
import time

DEADLINE = 20.0         # seconds, for anything that should be quick
PATIENCE = float(os.environ.get("SCENARIO_PATIENCE", "1"))


class Response:
    """A parsed answer; interim ones are in .interim as status codes."""

    def __init__(self, status, reason, headers, body, interim=()):
        self.status = status
        self.reason = reason
        self.headers = headers          # lower-case name -> last value
        self.body = body
        self.interim = list(interim)

    def json(self):
        return json.loads(self.body)

    @property
    def data(self):
        """The receipt."""
        return self.json()["data"]

    def target(self, name):
        """One target's entry in the receipt."""
        found = [t for t in self.data["targets"] if t["name"] == name]
        if len(found) != 1:
            raise AssertionError(f"{name} stands {len(found)} times in "
                                 f"{self.body!r}")
        return found[0]

    def states(self):
        return {t["name"]: t["state"] for t in self.data["targets"]}

    def __repr__(self):
        return f"<{self.status} {self.body[:400]!r}>"


class Closed(Exception):
    """The peer closed (or reset) the connection where an answer should be."""


def head(method, target, *fields, host="localhost", version="HTTP/1.1"):
    """A request head from parts; fields are "Name: value" strings."""
    lines = [f"{method} {target} {version}"]
    if host is not None:
        lines.append(f"Host: {host}")
    return ("\r\n".join([*lines, *fields]) + "\r\n\r\n").encode("latin-1")


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"


class Client:
    """One connection."""

    def __init__(self, port, timeout=DEADLINE, receive_buffer=0):
        self.sock = socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF,
                                 receive_buffer)
        self.sock.settimeout(timeout * PATIENCE)
        self.sock.connect(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.sent = 0

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    # ---- sending --------------------------------------------------------------

    def send(self, *pieces):
        """Send everything; each piece is a send(2) of its own."""
        for piece in pieces:
            self.sock.sendall(piece)
            self.sent += len(piece)
        return self

    def offer(self, data, within=0.5):
        """Send until the peer takes nothing for `within` seconds, or closes.

        Returns how many bytes went out.
        """
        done = 0
        view = memoryview(data)
        self.sock.settimeout(within)
        try:
            while done < len(data):
                done += self.sock.send(view[done:done + 65536])
        except (TimeoutError, ConnectionError):
            pass
        finally:
            self.sock.settimeout(DEADLINE * PATIENCE)
        self.sent += done
        return done

    def request(self, method, target, *fields, body=None, **kind):
        """A whole request; a body gets its Content-Length."""
        if body is not None:
            fields = (*fields, f"Content-Length: {len(body)}")
        self.send(head(method, target, *fields, **kind))
        if body:
            self.send(body)
        return self

    def half_close(self):
        self.sock.shutdown(socket.SHUT_WR)
        return self

    def reset(self):
        """Close with RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                             struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self):
        self.sock.close()

    # ---- receiving ------------------------------------------------------------

    def fill(self):
        """Receive more; False at the end."""
        try:
            data = self.sock.recv(65536)
        except ConnectionResetError:
            data = b""
        self.buffer += data
        return bool(data)

    def can_read(self, within):
        """Is there an answer, or an end, within so many seconds?"""
        return bool(select.select([self.sock], [], [], within)[0])

    def take(self, n):
        while len(self.buffer) < n:
            if not self.fill():
                raise Closed(f"closed after {self.buffer!r}")
        taken, self.buffer = self.buffer[:n], self.buffer[n:]
        return taken

    def take_line(self):
        while b"\r\n" not in self.buffer:
            if not self.fill():
                raise Closed(f"closed after {self.buffer!r}")
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line

    def take_head(self):
        line = self.take_line().decode("latin-1")
        version, status, reason = (line + " ").split(" ", 2)
        if not version.startswith("HTTP/1."):
            raise AssertionError(f"not an answer: {line!r}")
        headers = {}
        while True:
            field = self.take_line().decode("latin-1")
            if not field:
                return int(status), reason.strip(), headers
            name, _, value = field.partition(":")
            headers[name.lower()] = value.strip()

    def take_body(self, headers):
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = b""
            while size := int(self.take_line().split(b";")[0], 16):
                body += self.take(size)
                self.take(2)
            while self.take_line():
                pass
            return body
        if "content-length" in headers:
            return self.take(int(headers["content-length"]))
        while self.fill():
            pass
        body, self.buffer = self.buffer, b""
        return body

    def interim(self):
        """The next answer, which must be an interim one; its status."""
        status, _, _ = self.take_head()
        if status >= 200:
            raise AssertionError(f"{status} instead of an interim answer")
        return status

    def response(self, to_head=False):
        """The next final answer."""
        interim = []
        while True:
            status, reason, headers = self.take_head()
            if status >= 200:
                break
            interim.append(status)
        body = b""
        if not to_head and status not in (204, 304):
            body = self.take_body(headers)
        return Response(status, reason, headers, body, interim)

    def is_closed(self, within=DEADLINE):
        """Does the peer close the connection, saying nothing more?"""
        self.sock.settimeout(within * PATIENCE)
        try:
            while True:
                if self.buffer:
                    raise AssertionError(f"more was sent: {self.buffer!r}")
                if not self.fill():
                    return True
        except TimeoutError:
            return False
        finally:
            self.sock.settimeout(DEADLINE * PATIENCE)

    def rest(self):
        """Everything until the peer closes."""
        while self.fill():
            pass
        taken, self.buffer = self.buffer, b""
        return taken


def fetch(port, method, target, *fields, body=None):
    """One request on a connection of its own."""
    with Client(port) as client:
        client.request(method, target, *fields, "Connection: close", body=body)
        return client.response(to_head=method == "HEAD")


def get(port, target, *fields):
    return fetch(port, "GET", target, *fields)


class Curl:
    """curl's exit status and the answer it got."""

    def __init__(self, *args, stdin=None, timeout=120):
        marker = "\n--curl-status--"
        run = subprocess.run(
            ["curl", "-sS", "--noproxy", "*", "-w", marker + "%{http_code}",
             *map(str, args)],
            input=stdin, stdin=None if stdin is not None
            else subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            timeout=timeout * PATIENCE, check=False)
        self.exit = run.returncode
        self.stderr = run.stderr.decode("utf-8", "replace")
        body, _, status = run.stdout.rpartition(marker.encode())
        self.response = Response(int(status or 0), "", {}, body)

    @property
    def status(self):
        return self.response.status

    def __getattr__(self, name):
        return getattr(self.response, name)

    def __repr__(self):
        return f"<curl {self.exit} {self.stderr!r} {self.response!r}>"


def wait_until(predicate, what, timeout=DEADLINE):
    """Poll `predicate` until it is true and return its value."""
    deadline = time.monotonic() + timeout * PATIENCE
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(0.005)
