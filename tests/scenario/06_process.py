"""Starting, stopping, being stopped and being killed."""
import random
import signal
import socket
import subprocess
import threading

from client import Client, Closed, Curl, fetch, get, head, wait_until
from fault_target import gate_at
from harness import BIN, Port, Scenario, payload, running_uploads, sha256, slow


class Starting(Scenario):
    """A wrong setting stops the start; nothing is guessed."""

    def refused(self, kind, **settings):
        """It must exit with 2; what it said."""
        start = self.broadcaster if kind == "broadcaster" else self.reader
        if kind == "broadcaster":
            settings = {"BROADCASTER_HOST_LIST": "localhost:7001", **settings}
            program = start([], wait=False, **settings)
        else:
            program = start(wait=False, **settings)
        program.may_fail = True
        self.assertEqual(program.wait(), 2, program.log())
        return program.log()

    def test_bad_values_are_named_with_what_is_allowed(self):
        for name, value in (("BROADCASTER_BUFFER_SIZE", "12x"),
                            ("BROADCASTER_BUFFER_SIZE", "1023"),
                            ("BROADCASTER_BUFFER_SIZE", "-1"),
                            ("BROADCASTER_QUORUM", "most"),
                            ("BROADCASTER_QUORUM", "2"),
                            ("BROADCASTER_QUORUM", "0"),
                            ("BROADCASTER_REQUIRED", "nobody"),
                            ("BROADCASTER_HTTP_PORT", "70000"),
                            ("BROADCASTER_HTTP_PORT", "http"),
                            ("BROADCASTER_HOST_LIST", ";"),
                            ("BROADCASTER_HOST_LIST", "localhost"),
                            ("BROADCASTER_HOST_LIST", "localhost:99999"),
                            ("BROADCASTER_HOST_LIST", "file:///etc/passwd"),
                            ("BROADCASTER_HOST_LIST", "gopher://x:70/1"),
                            ("BROADCASTER_HOST_LIST", "a:1;a:1"),
                            ("BROADCASTER_STALL_TIMEOUT_MS", "1e3"),
                            ("BROADCASTER_THREADS", "many")):
            with self.subTest(name=name, value=value):
                said = self.refused("broadcaster", **{name: value})
                self.assertIn(name, said)

    def test_a_misspelt_variable_is_an_error_that_suggests_the_right_one(self):
        said = self.refused("broadcaster", BROADCASTER_BUFER_SIZE="4096")
        self.assertIn("BROADCASTER_BUFER_SIZE", said)
        self.assertIn("BROADCASTER_BUFFER_SIZE", said)

    def test_a_secret_never_appears_in_a_message(self):
        said = self.refused("broadcaster", BROADCASTER_TOKEN="geh\teim")
        self.assertIn("BROADCASTER_TOKEN", said)
        self.assertNotIn("eim", said)

    def test_readers_check_their_settings_too(self):
        for name, value in (("READER_STORE", "tape"),
                            ("READER_BUFFER_SIZE", "0"),
                            ("READER_FILE_DIR", "/nonexistent/a/b"),
                            ("READER_HTTP_PORT", "0.0.0.0:7001")):
            with self.subTest(name=name):
                said = self.refused("reader", **{name: value})
                self.assertIn(name, said)

    def test_a_port_that_is_taken_is_said_so(self):
        taken = socket.socket()
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        program = self.broadcaster(["localhost:7001"], wait=False,
                                   BROADCASTER_HTTP_PORT=f"127.0.0.1:{port}")
        program.may_fail = True
        self.assertNotEqual(program.wait(), 0)
        self.assertIn(str(port), program.log())
        taken.close()

    def test_two_readers_never_share_a_port(self):
        """The kernel would: half of what one holds would seem absent."""
        reader = self.reader()
        said = self.refused("reader", port=reader.held)
        self.assertIn(f"port {reader.port} is taken", said)

    def test_help_and_version_and_check_config(self):
        for kind in ("broadcaster", "reader"):
            told = self.run_it(kind, "--help")
            self.assertEqual(told.returncode, 0)
            self.assertIn(f"{kind.upper()}_HTTP_PORT", told.stdout)
            self.assertEqual(self.run_it(kind, "--version").returncode, 0)
            good = self.run_it(kind, "--check-config")
            self.assertEqual(good.returncode, 0, good.stderr)
            bad = self.run_it(kind, "--check-config",
                              **{f"{kind.upper()}_BUFFER_SIZE": "x"})
            self.assertEqual(bad.returncode, 2)
            self.assertEqual(self.run_it(kind, "--nonsense").returncode, 2)

    def run_it(self, kind, *args, **env):
        return subprocess.run([BIN / kind, *args], env=env, text=True,
                              capture_output=True, timeout=30, check=False,
                              cwd=self.folder)

    def test_the_port_flag_overrides_the_variable(self):
        port = Port()
        program = self.broadcaster(["localhost:7001"], wait=False,
                                   args=["-port", str(port.number)])
        wait_until(lambda: self.answers(port.number), "it listens there")
        program.stop()
        port.release()

    def answers(self, port):
        try:
            return get(port, "/healthz").status == 200
        except (OSError, Closed):
            return False


class Draining(Scenario):
    """SIGTERM lets what runs finish; a second one or the deadline does not."""

    def setUp(self):
        super().setUp()
        self.target = self.fault(on_put=gate_at(500))

    def begin(self, **settings):
        """A broadcaster with an upload half-way."""
        front = self.broadcaster([self.target], **settings)
        client = Client(front.port)
        client.send(head("PUT", "/broadcast/x", "Content-Length: 1000"),
                    payload(1000)[:600])
        self.target.wait_put(500)
        return front, client

    def wait_draining(self, front):
        def drains():
            try:
                return get(front.port, "/readyz").status == 503
            except (OSError, Closed):
                return True
        wait_until(drains, "the broadcaster drains")

    def test_a_running_upload_is_finished(self):
        front, client = self.begin()
        front.signal(signal.SIGTERM)
        self.wait_draining(front)
        self.target.open_gate()
        client.send(payload(1000)[600:])
        answer = client.response()
        self.assertEqual(answer.status, 201, answer)
        self.assertEqual(front.wait(), 0)
        self.assertEqual(bytes(self.target.puts()[0].body), payload(1000))

    def test_no_new_upload_is_taken(self):
        front, client = self.begin()
        other = Client(front.port)
        other.request("GET", "/healthz")
        other.response()
        front.signal(signal.SIGTERM)
        self.wait_draining(front)
        try:
            other.request("PUT", "/broadcast/late", body=b"x")
            self.assertEqual(other.response().status, 503)
        except (OSError, Closed):
            pass                # its idle connection was closed: as good
        self.target.open_gate()
        client.send(payload(1000)[600:])
        self.assertEqual(client.response().status, 201)
        self.assertEqual(front.wait(), 0)
        self.assertEqual(len(self.target.puts()), 1)

    def test_a_second_sigterm_aborts_without_a_false_end(self):
        front, client = self.begin()
        front.may_fail = True
        front.signal(signal.SIGTERM)
        self.wait_draining(front)
        front.signal(signal.SIGTERM)
        self.target.open_gate()
        self.assertNotEqual(front.wait(), 0)
        self.assertFalse(self.target.wait_ended().terminated)
        self.assertEqual(self.target.commits(), [])
        client.close()

    def test_the_deadline_aborts_without_a_false_end(self):
        front, client = self.begin(BROADCASTER_DRAIN_TIMEOUT_MS=300)
        front.may_fail = True
        front.signal(signal.SIGTERM)
        self.assertNotEqual(front.wait(), 0)
        self.target.open_gate()
        self.assertFalse(self.target.wait_ended().terminated)
        self.assertEqual(self.target.commits(), [])
        client.close()

    def test_an_idle_broadcaster_ends_at_once(self):
        front = self.broadcaster([self.target])
        idle = Client(front.port)
        idle.request("GET", "/healthz")
        idle.response()
        self.assertEqual(front.stop(timeout=5), 0)
        idle.close()

    def test_sigint_is_the_same(self):
        front = self.broadcaster([self.target])
        front.signal(signal.SIGINT)
        self.assertEqual(front.wait(5), 0)


class Killed(Scenario):
    """SIGKILL at any moment: nothing partial, nothing acknowledged is lost."""

    def test_a_killed_broadcaster_leaves_nothing_half(self):
        dice = random.Random(68)
        reader = self.reader()
        target = self.fault()
        front = self.broadcaster([reader, target])
        data = payload(500000)
        acknowledged = {}
        for i in range(25):
            client = Client(front.port)
            client.send(head("PUT", f"/broadcast/{i}",
                             f"Content-Length: {len(data)}"),
                        data[:dice.randrange(len(data))])
            front.kill()
            client.close()
            front.restart().wait_live()
        for i in range(5):
            answer = self.put(front, payload(1000, i))
            self.assertEqual(answer.status, 201)
            acknowledged[answer.data["id"]] = sha256(payload(1000, i))
            front.kill()
            front.restart().wait_live()
        found = {k: v["sha256"] for k, v in reader.objects().items()}
        self.assertEqual(found, acknowledged)
        for leg in target.puts():
            self.assertTrue(leg.terminated or leg.id not in target.committed)
        wait_until(lambda: not reader.leftovers(), "the reader cleans up")

    def test_a_frozen_broadcaster_blames_nobody_when_it_thaws(self):
        """SIGSTOP for longer than every timeout, then SIGCONT. The timeouts are
        long enough for a busy machine."""
        target = self.fault()
        reader = self.reader()
        front = self.broadcaster([target, reader],
                                 BROADCASTER_STALL_TIMEOUT_MS=2000,
                                 BROADCASTER_CONNECT_TIMEOUT_MS=2000,
                                 BROADCASTER_LAG_TIMEOUT_MS=2000,
                                 BROADCASTER_GRACE_MS=2000)
        data = payload(100000)
        with Client(front.port) as client:
            client.send(head("PUT", "/broadcast/x", "Content-Length: 100000"),
                        data[:50000])
            target.wait_put(50000)
            front.signal(signal.SIGSTOP)
            threading.Event().wait(4)       # the freeze is what is tested
            client.send(data[50000:])
            front.signal(signal.SIGCONT)
            answer = client.response()
        self.assert_committed(answer, [reader], data)


class Crowd(Scenario):
    """Many at once."""

    def run_all(self, n, work, n_threads=16):
        errors = []
        numbers = iter(range(n))
        lock = threading.Lock()

        def worker():
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                try:
                    work(number)
                except Exception as error:      # shown by the assertion below
                    errors.append((number, repr(error)))
        threads = [threading.Thread(target=worker) for _ in range(n_threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(errors[:3], [])

    def test_1000_small_uploads_to_three_readers_leak_nothing(self):
        kept = self.reader()
        front = self.broadcaster([kept, *self.readers(
            2, READER_STORE="discard")], BROADCASTER_THREADS=2)

        def work(i):
            data = payload(1024, i)
            answer = self.put(front, data, name=f"{i}")
            self.assertEqual(answer.status, 201, answer)
            self.assertEqual(answer.data["sha256"], sha256(data))
        self.run_all(50, work)
        before = front.fds()
        self.run_all(1000, work)
        wait_until(lambda: front.fds() <= before + 40, "descriptors are closed")
        self.assert_idle(front)
        self.assertEqual(len(self.all_objects(kept)), 1050)
        self.assertEqual(kept.staged(), {})

    def all_objects(self, reader):
        seen, after = [], ""
        while True:
            query = f"/objects?limit=1000&after={after}" if after else \
                "/objects?limit=1000"
            page = get(reader.port, query).json()["objects"]
            seen += [entry["id"] for entry in page]
            if len(page) < 1000:
                return seen
            after = seen[-1]

    @slow("memory is measured")
    def test_memory_stays_within_ring_times_uploads(self):
        """200 uploads that stand still cost 200 rings and little more."""
        target = self.fault(on_put=gate_at(1), receive_buffer=4096)
        ring = 65536
        front = self.broadcaster([target], BROADCASTER_BUFFER_SIZE=ring,
                                 BROADCASTER_STALL_TIMEOUT_MS=60000)
        self.put_gate(front, target)
        before = front.rss()
        clients = []
        for i in range(200):
            client = Client(front.port)
            client.send(head("PUT", f"/broadcast/{i}",
                             "Content-Length: 1000000"))
            clients.append(client)
        for client in clients:
            client.offer(payload(400000), within=0.01)
        wait_until(lambda: len(running_uploads(front)) == 200, "all run")
        used = front.rss() - before
        self.assertLess(used, 200 * (ring + 32768), used)
        for client in clients:
            client.reset()

    def put_gate(self, front, target):
        """Nothing but a warm-up of the program itself."""
        self.assertEqual(get(front.port, "/metrics").status, 200)
        self.assertEqual(target.puts(), [])

    def test_two_uploads_of_one_name_are_two_objects(self):
        reader = self.reader()
        front = self.broadcaster([reader], BROADCASTER_THREADS=2)
        for i in range(25):
            blobs = [payload(20000, 2 * i), payload(20000, 2 * i + 1)]
            answers = [None, None]

            def work(k):
                answers[k] = self.put(front, blobs[k], name="same")
            self.run_all(2, work, n_threads=2)
            for k in range(2):
                self.assert_committed(answers[k], [reader], blobs[k])

    def test_two_uploads_of_one_idempotency_key_never_mix(self):
        reader = self.reader()
        front = self.broadcaster([reader], BROADCASTER_THREADS=2)
        for i in range(25):
            blobs = [payload(20000, 2 * i), payload(20000, 2 * i + 1)]
            answers = [None, None]

            def work(k):
                answers[k] = self.put(front, blobs[k],
                                      f"Idempotency-Key: key-{i}")
            self.run_all(2, work, n_threads=2)
            won = [k for k in range(2) if answers[k].status == 201]
            self.assertLessEqual(len(won), 1, answers)
            for answer in answers:
                self.assertIn(answer.status, (200, 201, 409, 502, 503), answer)
            if won:
                object_id = answers[won[0]].data["id"]
                self.assert_stored(reader, object_id, blobs[won[0]])
        self.assertGreater(len(reader.objects()), 0)

    def test_20_large_uploads_at_once_are_exact(self):
        readers = self.readers(2, READER_STORE="discard")
        front = self.broadcaster(readers, BROADCASTER_THREADS=2)

        def work(i):
            data = payload(3000000 + i, i)
            answer = self.put(front, data)
            self.assertEqual(answer.status, 201, answer)
            for reader in readers:
                self.assertEqual(answer.target(reader.name)["sha256"],
                                 sha256(data))
        self.run_all(20, work)

    def test_few_descriptors_are_survived(self):
        """With 48 descriptors a crowd of 100 gets answers or refusals, and
        the broadcaster goes on."""
        target = self.fault()
        front = self.broadcaster([target], wrapper=["prlimit", "--nofile=48"])
        crowd = [Client(front.port) for _ in range(100)]
        before = front.cpu()
        for client in crowd:
            client.close()
        wait_until(lambda: self.put_works(front), "it works again")
        self.assertLess(front.cpu() - before, 2)
        self.assertLess(len(front.log_lines()), 200)

    def put_works(self, front):
        try:
            return self.put(front, b"hello").status == 201
        except (OSError, Closed):
            return False


class Run(Scenario):
    """What a newcomer does first."""

    def test_the_readers_own_upload_page_of_the_manual_works(self):
        reader = self.reader()
        front = self.broadcaster([reader])
        curl = Curl("-F", "file=@-;filename=tour.txt", stdin=b"hello",
                    *[f"http://127.0.0.1:{front.port}/broadcast"])
        self.assertEqual(curl.status, 201, curl)
        found = fetch(reader.port, "GET", "/objects?q=tour").json()
        self.assertEqual(found["objects"][0]["name"], "tour.txt")

    def test_probes_and_metrics_answer(self):
        reader = self.reader()
        front = self.broadcaster([reader])
        self.put(front, b"hello")
        for program in (front, reader):
            for path in ("/healthz", "/readyz", "/metrics"):
                self.assertEqual(get(program.port, path).status, 200)
            self.assertGreater(
                program.metric("process_resident_memory_bytes"), 0)
