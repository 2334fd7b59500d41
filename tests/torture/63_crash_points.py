"""A reader is killed at each of its system calls while it takes an upload."""
import shutil
import signal
import unittest

from client import Client, Closed, fetch, get
from harness import MODE, Scenario, payload

DATA = payload(100000, seed=63)
HANG = 10.0
TTL = {"READER_STAGED_TTL": 1}
# Of the disk threads and the loop; each is counted by thread.
CALLS = ("openat", "openat2", "mkdirat", "write", "pwrite64", "fdatasync",
         "fsync", "renameat2", "unlinkat", "close", "recvfrom", "sendmsg",
         "sendto", "accept4", "epoll_wait", "epoll_ctl", "futex")
MOST = 12               # of the calls that come again and again


class CrashPoints(Scenario):

    def setUp(self):
        super().setUp()
        if not shutil.which("strace"):
            self.skipTest("strace is not installed")
        if MODE in ("asan", "tsan", "valgrind"):
            self.skipTest(f"{MODE}: strace and this tool exclude each other")
        self.n_killed = self.n_committed = self.n_whole = 0

    def upload(self, front):
        try:
            with Client(front.port, timeout=HANG) as client:
                client.request("PUT", "/broadcast/x", "Connection: close",
                               body=DATA)
                return client.response()
        except (Closed, ConnectionError):
            return None

    def end(self, reader):
        """Kill it if that has not happened; True when it had.

        Dead or not is asked over its port: a process that strace has killed
        cannot be waited for until strace is gone, and strace may be waiting
        for it.
        """
        try:
            died = get(reader.port, "/healthz").status != 200
        except (Closed, OSError):
            died = True
        if reader.is_running():
            reader.signal(signal.SIGKILL)
        if reader.tracer:
            reader.tracer.kill()
            reader.tracer.communicate(timeout=HANG)
        reader.tracer = None
        reader.kill()
        return died

    def check_store(self, reader, answer):
        """Whole or absent; whole if that was promised; nothing staged."""
        self.assertEqual(list(reader.store.glob("staging/*")), [])
        objects = reader.objects()
        self.assertLessEqual(len(objects), 1)
        for object_id in objects:
            self.assert_stored(reader, object_id, DATA)
            self.n_whole += 1
        if answer and "data" in answer.json():
            entry = answer.target(reader.name)
            if entry["state"] == "committed":
                self.n_committed += 1
                self.assertIn(answer.data["id"], objects)
        self.assertEqual(reader.leftovers(), [])

    def kill_at(self, front, victim, call, n):
        """One upload; True when the n-th call was reached."""
        try:
            victim.inject(f"{call}:signal=KILL:when={n}")
        except unittest.SkipTest:       # it died, and strace with it
            victim.tracer = None
            self.assertIsNotNone(victim.process.poll(), "strace works")
        answer = self.upload(front)
        self.assertIsNotNone(answer)
        died = self.end(victim)
        victim.restart().wait_ready()
        self.check_store(victim, answer)
        for object_id in victim.objects():
            fetch(victim.port, "DELETE", f"/objects/{object_id}")
        self.n_killed += died
        return answer, died

    def each_point(self, front, victim, check):
        for call in CALLS:
            for n in range(1, MOST + 1):
                with self.subTest(call=call, n=n):
                    answer, died = self.kill_at(front, victim, call, n)
                    check(answer)
                if not died:
                    break
        print(f"    {self.n_killed} kills; whole afterwards {self.n_whole}, "
              f"promised {self.n_committed}", flush=True)
        self.assertGreater(self.n_killed, 20)

    def start(self, n_good, **settings):
        victim = self.reader(READER_DISK_THREADS=1, **TTL)
        good = self.readers(n_good, **TTL)
        front = self.broadcaster([victim, *good],
                                 BROADCASTER_STAGE_TIMEOUT_MS=3000,
                                 BROADCASTER_STALL_TIMEOUT_MS=3000,
                                 **settings)
        return front, victim, good

    def test_what_one_reader_promised_it_keeps(self):
        front, victim, _ = self.start(0)

        def check(answer):
            self.assertIn(answer.status, (201, 502, 503))
        self.each_point(front, victim, check)

    def test_the_other_reader_does_not_notice(self):
        front, victim, good = self.start(1, BROADCASTER_QUORUM="1")

        def check(answer):
            self.assertEqual(answer.status, 201, answer)
            self.assert_stored(good[0], answer.data["id"], DATA)
        self.each_point(front, victim, check)
