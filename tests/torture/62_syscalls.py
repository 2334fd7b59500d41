"""Sockets and events fail, are interrupted and move few bytes."""
import shutil

import preload
from client import (LAST_CHUNK, Client, Closed, chunk, get, head,
                    wait_until)
from harness import MODE, Scenario, payload, sha256

DATA = payload(150000, seed=62)
SMALL = payload(20000, seed=63)
HANG = 10.0
FAULTS = (
    ("recvfrom", "ECONNRESET", 6), ("recvfrom", "EINTR", 6),
    ("recvfrom", "ENOMEM", 6), ("readv", "ECONNRESET", 3),
    ("sendto", "EPIPE", 6), ("sendto", "ENOBUFS", 6), ("sendto", "EINTR", 6),
    ("sendmsg", "ECONNRESET", 6), ("sendmsg", "EINTR", 6),
    ("sendmsg", "ENOMEM", 6), ("writev", "EPIPE", 3),
    ("sendfile", "EINTR", 2), ("sendfile", "ENOMEM", 2),
    ("accept4", "EMFILE", 2), ("accept4", "ENOBUFS", 2),
    ("accept4", "EINTR", 2), ("accept4", "ECONNABORTED", 2),
    ("socket", "EMFILE", 3), ("socket", "ENOBUFS", 3),
    ("connect", "ECONNREFUSED", 3), ("connect", "EINTR", 3),
    ("connect", "EADDRNOTAVAIL", 3), ("getsockopt", "ENOBUFS", 3),
    ("setsockopt", "ENOMEM", 4), ("fcntl", "EINVAL", 4),
    ("epoll_ctl", "ENOMEM", 10), ("epoll_ctl", "ENOSPC", 10),
    ("epoll_wait", "EINTR", 6), ("write", "EINTR", 4), ("read", "EINTR", 4),
    ("openat2", "EMFILE", 4), ("openat2", "ENFILE", 4),
    ("fsync", "EINTR", 4), ("pwrite64", "EINTR", 3),
)


def attempt(port, method, target, *fields, body=None):
    """The answer, or None when the connection was closed."""
    try:
        with Client(port, timeout=HANG) as client:
            client.request(method, target, "Connection: close", *fields,
                           body=body)
            return client.response()
    except (Closed, ConnectionError):
        return None


class Syscalls(Scenario):
    """strace lets the n-th call of a kind fail."""

    def setUp(self):
        super().setUp()
        if not shutil.which("strace"):
            self.skipTest("strace is not installed")
        if MODE in ("asan", "tsan", "valgrind"):
            self.skipTest(f"{MODE}: strace and this tool exclude each other")

    def start(self):
        self.stores = self.readers(2, READER_STAGED_TTL=1,
                                   READER_DISK_THREADS=1,
                                   READER_IDLE_TIMEOUT_MS=100)
        self.front = self.broadcaster(self.stores,
                                      BROADCASTER_CONNECT_TIMEOUT_MS=1000,
                                      BROADCASTER_STALL_TIMEOUT_MS=2000,
                                      BROADCASTER_STAGE_TIMEOUT_MS=2000)
        self.good_upload()

    def good_upload(self):
        answer = attempt(self.front.port, "PUT", "/broadcast/y", body=SMALL)
        self.assertIsNotNone(answer, "after the fault")
        self.assert_committed(answer, self.stores, SMALL)

    def assert_true(self, answer):
        """No copy is promised that is not there."""
        if answer is None or b'"data"' not in answer.body:
            self.assertTrue(answer is None or answer.status >= 400, answer)
            return
        for reader in self.stores:
            if answer.target(reader.name)["state"] == "committed":
                self.assert_stored(reader, answer.data["id"], DATA)
            else:
                self.assertNotEqual(answer.status, 201, answer)

    def inject(self, program, rule, run):
        """Run with a fault in the program."""
        program.inject(rule)
        try:
            answer = run()
            self.assertTrue(program.is_running())
        finally:
            program.end_tracing()
        return answer

    def each_fault(self, program, run, check):
        outcomes = {}
        for call, error, most in FAULTS:
            for n in range(1, most + 1):
                rule = f"{call}:error={error}:when={n}"
                with self.subTest(kind=program.kind, rule=rule):
                    answer = self.inject(program, rule, run)
                    key = answer.status if answer else "closed"
                    outcomes[key] = outcomes.get(key, 0) + 1
                    check(answer)
        print(f"    {program.kind}: {sum(outcomes.values())} faults: "
              f"{outcomes}", flush=True)

    def upload(self):
        return attempt(self.front.port, "PUT", "/broadcast/x", body=DATA)

    def check_upload(self, answer):
        self.assert_true(answer)
        self.good_upload()
        self.assert_idle(self.front)

    def finish(self):
        for reader in self.stores:
            for object_id, entry in reader.objects().items():
                self.assertIn(entry["sha256"], (sha256(DATA), sha256(SMALL)))
            wait_until(lambda r=reader: not r.leftovers(),
                       f"{reader.name} removes what was staged")

    def test_a_broadcaster_lives_through_any_failing_call(self):
        self.start()
        self.each_fault(self.front, self.upload, self.check_upload)
        self.finish()

    def test_a_reader_lives_through_any_failing_call(self):
        self.start()
        self.each_fault(self.stores[0], self.upload, self.check_upload)
        self.finish()

    def test_a_reader_is_read_through_any_failing_call(self):
        self.start()
        box = self.stores[0]
        object_id = self.upload().data["id"]

        def check(answer):
            if answer and answer.status == 200:
                self.assertEqual(answer.body, DATA)
            self.assert_stored(box, object_id, DATA)
        self.each_fault(box, lambda: attempt(box.port, "GET",
                                             f"/objects/{object_id}"), check)


class ShortTransfers(Scenario):
    """Few bytes at a time, and interruptions, are no faults at all."""

    def check(self, seed, every):
        short = preload.short_io(seed, every)
        stores = self.readers(2, **short)
        front = self.broadcaster(stores, BROADCASTER_BUFFER_SIZE=65536,
                                 BROADCASTER_SEND_BUFFER=8192, **short)
        answer = attempt(front.port, "PUT", "/broadcast/x", body=DATA)
        self.assert_committed(answer, stores, DATA)
        with Client(front.port) as client:
            client.send(head("POST", "/broadcast",
                             "Transfer-Encoding: chunked"),
                        chunk(DATA[:70000]), chunk(DATA[70000:]), LAST_CHUNK)
            self.assert_committed(client.response(), stores, DATA)
        form = (b'--b\r\nContent-Disposition: form-data; name="f"; '
                b'filename="a"\r\n\r\n' + SMALL + b"\r\n--b--\r\n")
        answer = attempt(front.port, "POST", "/broadcast",
                         "Content-Type: multipart/form-data; boundary=b",
                         body=form)
        self.assert_committed(answer, stores, SMALL)
        for target in ("/broadcast", "/metrics"):
            self.assertEqual(get(front.port, target).status, 200)

    def test_short_transfers_change_nothing(self):
        for seed in range(1, 6):
            with self.subTest(seed=seed):
                self.check(seed, 0)

    def test_interrupted_transfers_change_nothing(self):
        for seed in range(1, 6):
            with self.subTest(seed=seed):
                self.check(seed, 3)
