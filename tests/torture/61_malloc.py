"""The n-th allocation fails, n upward until nothing fails any more."""
import time

from client import (LAST_CHUNK, PATIENCE, Client, Closed, chunk, head,
                    wait_until)
from harness import Scenario, payload, running_uploads, sha256
from object_api import ID, digest_field
from preload import FailAlloc

HANG = 10.0             # seconds within which everything has to end somehow
FOREVER = 1 << 40       # a count of failures that does not end
DATA = payload(40000, seed=61)
OTHER = payload(3000, seed=62)
CACHES = 100            # blocks that pools and caches may keep
SOURCES = {sha256(DATA): DATA, sha256(OTHER): OTHER}
BOUNDARY = "torn"


def part(name, data):
    return (f"--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"f\"; "
            f"filename=\"{name}\"\r\n\r\n").encode() + data + b"\r\n"


def field(name, value):
    return (f"--{BOUNDARY}\r\nContent-Disposition: form-data; "
            f"name=\"{name}\"\r\n\r\n{value}\r\n").encode()


def form(*parts):
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def attempt(port, *pieces, method="GET"):
    """Send the pieces; the answer, or None when the connection was closed."""
    try:
        with Client(port, timeout=HANG) as client:
            try:
                client.send(*pieces)
            except (BrokenPipeError, ConnectionResetError):
                pass        # the answer may have come all the same
            return client.response(to_head=method == "HEAD")
    except (Closed, ConnectionError):
        return None


def request(port, method, target, *fields, body=None):
    if body is not None:
        fields = (*fields, f"Content-Length: {len(body)}")
    return attempt(port, head(method, target, "Connection: close", *fields)
                   + (body or b""), method=method)


class Malloc(Scenario):
    """What both programs' tests need."""

    def failing(self):
        self.alloc = FailAlloc(self.scratch("control") / "map")
        return self.alloc.environment

    def each_n(self, run, check, count=1):
        """Run with the n-th allocation failing, until there is no n-th."""
        n, quiet, outcomes = 0, 0, {}
        while quiet < 2:
            n += 1
            self.alloc.arm(n, count)
            began = time.monotonic()
            try:
                answers = run(n)
            finally:
                failed = self.alloc.disarm()
            self.assertLess(time.monotonic() - began, HANG * PATIENCE)
            with self.subTest(n=n, count=count):
                check(n, answers)
            quiet = 0 if failed else quiet + 1
            for answer in answers:
                key = answer.status if answer else "closed"
                outcomes[key] = outcomes.get(key, 0) + 1
        print(f"    {n - 2} allocations of {self._testMethodName[5:]}"
              f"{' and all after' if count > 1 else ''}: {outcomes}",
              flush=True)

    def assert_no_leak(self, before):
        """Caches grow (OpenSSL's at the first use), but not with every n."""
        again = self.alloc.live()
        self.assertLess(again - before, CACHES)

    def assert_fds(self, program, most):
        wait_until(lambda: program.fds() <= most,
                   f"{program.kind} holds {most} descriptors and not "
                   f"{program.fds()}")

    def assert_sources(self, reader):
        """Whatever is visible is whole."""
        for object_id, entry in reader.objects().items():
            data = SOURCES.get(entry["sha256"])
            self.assertIsNotNone(data, entry)
            self.assert_stored(reader, object_id, data)

    def assert_staging_empties(self, *readers):
        for reader in readers:
            wait_until(lambda r=reader: not r.leftovers(),
                       f"{reader.name} removes what was staged")


class BroadcasterMalloc(Malloc):
    """Uploads through a broadcaster that runs out of memory."""

    is_form = False         # its receipt's id is no object's
    is_repeated = False     # the object was there before

    def start(self, cold=False, **settings):
        idle = {"READER_IDLE_TIMEOUT_MS": 100} if cold else {}
        self.cold = cold
        self.stores = self.readers(2, READER_STAGED_TTL=1, **idle)
        self.front = self.broadcaster(
            self.stores, BROADCASTER_BUFFER_SIZE=16384,
            BROADCASTER_STALL_TIMEOUT_MS=3000,
            BROADCASTER_CONNECT_TIMEOUT_MS=2000,
            BROADCASTER_STAGE_TIMEOUT_MS=3000, **self.failing(), **settings)
        for _ in range(3):
            self.good_upload()
        self.fds = self.front.fds()

    def good_upload(self):
        answer = request(self.front.port, "PUT", "/broadcast/good", body=OTHER)
        self.assertIsNotNone(answer)
        self.assert_committed(answer, self.stores, OTHER)

    def assert_true_receipt(self, receipt, success):
        """A copy is where the receipt says it is."""
        if success:
            self.assertEqual(len(receipt["targets"]), len(self.stores))
        for entry in receipt.get("targets", []):
            reader = next(r for r in self.stores if r.name == entry["name"])
            there = reader.content(receipt["id"])
            if entry["state"] == "committed":
                self.assertEqual(there.status, 200, receipt)
                self.assertIn(sha256(there.body), SOURCES)
            else:
                self.assertFalse(success, receipt)
                if not self.is_repeated:    # then it is the first upload's
                    self.assertEqual(there.status, 404, receipt)

    def check_receipt(self, answer):
        """Whole, or nothing but the status."""
        success = answer.status == 201
        data = answer.json().get("data", {})
        if success and not data:
            self.assertIn("out of memory", answer.json()["message"])
            for reader in self.stores:
                there = reader.content(answer.headers["object-id"])
                self.assertTrue(self.is_form or there.status == 200)
        for receipt in data.get("objects", [data]):
            self.assert_true_receipt(receipt, success and data)

    def check(self, n, answers):
        self.assertTrue(self.front.is_running(), f"died at {n}")
        for answer in answers:
            if answer is not None and answer.body.startswith(b"{"):
                self.check_receipt(answer)
        self.good_upload()
        self.assert_idle(self.front)

    def finish(self):
        """Each target may keep a link and a connection of libcurl's."""
        self.assert_fds(self.front, self.fds + 2 * len(self.stores))
        for reader in self.stores:
            self.assert_sources(reader)
        self.assert_staging_empties(*self.stores)

    def torture(self, run, count=1):
        def paced(n):
            if self.cold:       # the readers have closed what was idle
                time.sleep(0.12)
            return [run(n)]
        before = self.alloc.live()
        self.each_n(paced, self.check, count)
        self.assert_no_leak(before)
        self.finish()

    def raw(self, n):
        return request(self.front.port, "PUT", "/broadcast/raw", body=DATA)

    def chunked(self, n):
        return attempt(self.front.port,
                       head("POST", "/broadcast", "Connection: close",
                            "Transfer-Encoding: chunked"),
                       *[chunk(DATA[i:i + 10000])
                         for i in range(0, len(DATA), 10000)], LAST_CHUNK)

    def form(self, n):
        self.is_form = True
        return request(self.front.port, "POST", "/broadcast",
                       f"Content-Type: multipart/form-data; "
                       f"boundary={BOUNDARY}",
                       body=form(field("title", "T"), part("a", DATA),
                                 part("b", OTHER), field("k", "v")))

    def keyed(self, n):
        return request(self.front.port, "PUT", "/broadcast/keyed",
                       f"Idempotency-Key: key-{n}",
                       "Upload-Metadata: title VA==,k dg==", body=DATA)

    def test_an_upload_of_known_length(self):
        self.start()
        self.torture(self.raw)

    def test_an_upload_over_new_connections(self):
        self.start(cold=True)
        self.torture(self.raw)

    def test_no_memory_for_the_rest_of_an_upload(self):
        self.start(cold=True)
        self.torture(self.raw, FOREVER)

    def test_a_chunked_upload(self):
        self.start()
        self.torture(self.chunked)

    def test_a_form_with_two_files(self):
        self.start()
        self.torture(self.form)

    def test_a_form_over_new_connections_and_no_memory_for_its_rest(self):
        self.start(cold=True)
        self.torture(self.form, FOREVER)

    def test_an_upload_with_a_key(self):
        self.start()
        self.torture(self.keyed)

    def test_a_repeated_upload(self):
        self.start()
        self.is_repeated = True
        self.keyed(0)
        self.torture(lambda n: self.keyed(0))

    def test_lists_metrics_and_probes(self):
        self.start()
        for path in ("/broadcast", "/metrics", "/readyz", "/healthz",
                     "/nothing"):
            self.torture(lambda n, p=path: request(self.front.port, "GET", p))

    def test_progress_of_an_upload(self):
        self.start()
        with Client(self.front.port) as upload:
            upload.send(head("PUT", "/broadcast/x", "Idempotency-Key: seen",
                             f"Content-Length: {len(DATA)}"), DATA[:100])
            wait_until(lambda: running_uploads(self.front), "it runs")
            for field in ("Accept: application/json",
                          "Accept: text/event-stream"):
                self.watch(field)
            upload.send(DATA[100:])
            self.assert_committed(upload.response(), self.stores, DATA)
        self.finish()

    def watch(self, field):
        def run(n):
            try:
                with Client(self.front.port, timeout=HANG) as client:
                    client.request("GET", "/broadcast/seen/progress", field)
                    client.take_head()
                    client.take(20)     # a part of the first event, or all
            except (Closed, ConnectionError):
                pass
            return [None]

        def check(n, answers):
            self.assertTrue(self.front.is_running(), f"died at {n}")
            self.good_upload()
        self.each_n(run, check)


class ReaderMalloc(Malloc):
    """A reader that runs out of memory, spoken to directly."""

    def start(self):
        self.box = self.reader(READER_BUFFER_SIZE=16384, READER_STAGED_TTL=1,
                               READER_DISK_THREADS=1, **self.failing())
        for i in range(3):
            self.store(ID % (0xfff000 + i), OTHER)
        self.form(0)            # makes OpenSSL's random numbers ready
        self.fds = self.box.fds()

    def put(self, object_id, data):
        return request(self.box.port, "PUT", f"/objects/{object_id}",
                       'Content-Disposition: attachment; filename="x"',
                       body=data)

    def commit(self, object_id, data):
        return request(self.box.port, "POST", f"/objects/{object_id}/commit",
                       digest_field(data),
                       "Upload-Metadata: title VA==,k dg==", body=b"")

    def store(self, object_id, data):
        answers = [self.put(object_id, data), self.commit(object_id, data)]
        self.assertEqual([a and a.status for a in answers], [200, 201],
                         answers)

    def check(self, n, answers):
        self.assertTrue(self.box.is_running(), f"died at {n}")
        self.store(ID % (0x100000 + n), OTHER)
        answer = request(self.box.port, "DELETE",
                         f"/objects/{ID % (0x100000 + n)}")
        self.assertEqual(answer.status, 204)
        self.assert_fds(self.box, self.fds)

    def torture(self, run, count=1):
        before = self.alloc.live()
        self.each_n(run, self.check, count)
        self.assert_no_leak(before)
        self.assert_sources(self.box)
        self.assert_staging_empties(self.box)

    def upload(self, n):
        """Stage and commit; what was confirmed is there."""
        answers = [self.put(ID % n, DATA)]
        if answers[0] and answers[0].status == 200:
            answers.append(self.commit(ID % n, DATA))
        return answers

    def form(self, n):
        return [request(self.box.port, "POST", "/upload",
                        f"Content-Type: multipart/form-data; "
                        f"boundary={BOUNDARY}",
                        body=form(field("title", "T"), part("a", DATA),
                                  part("b", OTHER), field("k", "v")))]

    def test_an_object_is_staged_and_committed(self):
        self.start()
        done = []

        def check(n, answers):
            self.check(n, answers)
            if len(answers) == 2 and answers[1] and answers[1].status == 201:
                self.assert_stored(self.box, ID % n, DATA)
                done.append(n)
        self.each_n(self.upload, check)
        self.each_n(self.upload, self.check, FOREVER)
        self.assertTrue(done)
        self.assert_sources(self.box)
        self.assert_staging_empties(self.box)

    def test_a_chunked_object(self):
        self.start()
        self.torture(lambda n: [attempt(
            self.box.port, head("PUT", f"/objects/{ID % n}",
                                "Connection: close",
                                "Transfer-Encoding: chunked"),
            chunk(DATA[:20000]), chunk(DATA[20000:]), LAST_CHUNK)])

    def test_an_object_is_resumed(self):
        self.start()

        def run(n):
            return [self.put(ID % n, DATA[:20000]),
                    request(self.box.port, "PATCH", f"/objects/{ID % n}",
                            "Content-Type: application/offset+octet-stream",
                            "Upload-Offset: 20000", body=DATA[20000:]),
                    request(self.box.port, "HEAD", f"/objects/{ID % n}")]
        self.torture(run)

    def test_a_form_with_two_files(self):
        self.start()
        self.torture(self.form)

    def test_objects_are_read_listed_and_deleted(self):
        self.start()
        self.store(ID % 1, DATA)

        def read(n, *fields):
            answer = request(self.box.port, "GET", f"/objects/{ID % 1}",
                             *fields)
            if answer and answer.status == 200:
                self.assertEqual(answer.body, DATA)
            return [answer]
        self.torture(read)
        self.torture(lambda n: read(n, "Range: bytes=5-1000"))
        for method, path in (("HEAD", f"/objects/{ID % 1}"),
                             ("GET", "/objects?limit=10&q=x"),
                             ("GET", "/objects?limit=1&sort=size"),
                             ("GET", "/metrics"), ("GET", "/readyz"),
                             ("GET", "/healthz"), ("GET", "/nothing")):
            self.torture(lambda n, m=method, p=path:
                         [request(self.box.port, m, p)])

        def delete(n):
            return [request(self.box.port, "DELETE", f"/objects/{ID % n}")]
        for i in range(1, 50):
            self.store(ID % (0x1000 + i), OTHER)
        self.torture(lambda n: delete(0x1000 + n))
