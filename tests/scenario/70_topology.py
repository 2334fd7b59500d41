"""nginx in front of three broadcasters: nothing spooled, nothing sent twice."""
import hashlib
import signal

from client import (LAST_CHUNK, Client, Closed, Curl, chunk, fetch, get, head,
                    wait_until)
from fault_target import KEEP, refuse, rst_at
from harness import Scenario, payload, sha256, slow
from topology import Nginx, Topology


class TopologyScenario(Scenario):
    """A Scenario whose programs are a Topology's."""

    def topology(self, kinds=("postgres", "file"), n_broadcasters=3, **settings):
        settings = {"BROADCASTER_THREADS": 1, "READER_THREADS": 1, **settings}
        topology = Topology(self.folder, kinds, n_broadcasters,
                            **settings)
        self.addCleanup(self.remove, topology)
        try:
            topology.start()
        finally:
            self.programs += topology.programs()
        return topology

    @staticmethod
    def remove(topology):
        if topology.server:
            topology.server.remove()

    def nginx(self, *upstreams):
        """nginx alone, in front of whatever these are."""
        front = Nginx(self.scratch("nginx"), upstreams)
        self.programs.append(front)
        front.start()
        wait_until(lambda: self.listens(front), "nginx listens")
        return front

    @staticmethod
    def listens(front):
        """/metrics is nginx's own."""
        try:
            return get(front.port, "/metrics").status == 404
        except (OSError, Closed):
            return False

    def assert_everywhere(self, topology, response, data):
        self.assertEqual(response.status, 201, response)
        self.assertEqual(response.data["sha256"], sha256(data))
        for reader in topology.readers:
            self.assert_stored(reader, response.data["id"], data)


class WaysIn(TopologyScenario):

    def setUp(self):
        super().setUp()
        self.all = self.topology()
        self.url = f"http://127.0.0.1:{self.all.front.port}"

    def send(self, size, *args, stdin=False):
        """curl uploads that many bytes; args with FILE for their path."""
        data = payload(size, seed=size)
        path = self.folder / "payload"
        path.write_bytes(data)
        answer = Curl(*[a.replace("FILE", str(path)) for a in args],
                      stdin=data if stdin else None)
        self.assert_everywhere(self.all, answer, data)

    def test_every_way_of_curl_arrives_exactly(self):
        put, post = f"{self.url}/broadcast/", f"{self.url}/broadcast"
        for size in (0, 1, 1000, 70000, 3000000):
            with self.subTest(size=size):
                self.send(size, "-T", "FILE", put)
                self.send(size, "-T", "FILE", "-H", "Expect:", put)
                self.send(size, "-T", "FILE", "-H", "Expect: 100-continue", put)
                self.send(size, "-T", "-", f"{put}x", stdin=True)
                self.send(size, "-F", "file=@FILE", post)
                self.send(size, "-F", "file=@FILE", "-H", "Expect:", post)
                self.send(size, "--data-binary", "@FILE", post)

    def test_every_instance_gets_uploads_and_any_serves_the_object(self):
        data = payload(1000)
        for _ in range(12):
            answer = self.put(self.all.front, data)
            self.assertEqual(answer.status, 201, answer)
        shares = [b.metric("broadcaster_uploads_total")
                  for b in self.all.broadcasters]
        self.assertEqual(sum(shares), 12)
        self.assertTrue(all(shares), shares)

    def test_the_database_is_reached_by_its_socket(self):
        """As in docker-compose.yml."""
        self.assertEqual(self.put(self.all.front, b"x").status, 201)
        self.assertEqual(self.all.database.query(
            "SELECT DISTINCT usename, client_addr FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"),
            [["reader", ""]])

    def test_progress_by_key_is_asked_where_the_upload_runs(self):
        for key in ("one", "two", "three-3", "4"):
            with Client(self.all.front.port) as client:
                client.send(head("PUT", "/broadcast/x", "Content-Length: 200000",
                                 f'Idempotency-Key: "{key}"'), payload(100000))
                found = wait_until(
                    lambda k=key: self.progress(k), "the progress is known")
                self.assertEqual(found["size"], 200000)
                client.send(payload(100000))
                self.assertEqual(client.response().status, 201)

    def progress(self, key):
        answer = get(self.all.front.port, f"/broadcast/{key}/progress")
        return answer.status == 200 and answer.json()

    def test_what_is_stored_is_listed_and_found(self):
        self.assertEqual(self.put(self.all.front, b"x", name="dawn.ogg").status,
                         201)
        for path in ("/media", "/media?q=dawn"):
            answer = get(self.all.front.port, path)
            self.assertEqual(answer.status, 200, answer)
            self.assertEqual([m["name"] for m in answer.json()["media"]],
                             ["dawn.ogg"])

    def test_the_instances_figures_are_not_for_strangers(self):
        self.assertEqual(get(self.all.front.port, "/metrics").status, 404)
        self.assertEqual(get(self.all.front.port, "/readyz").status, 200)
        answer = get(self.all.front.port, "/stream-broadcast-ready")
        self.assertEqual(answer.status, 404)


class OldClients(TopologyScenario):
    """HTTP/1.0, without a Host."""

    @staticmethod
    def say(port, *lines, body=b""):
        with Client(port) as client:
            client.send("\r\n".join([*lines, "", ""]).encode(), body)
            return client.response()

    def test_a_client_that_names_no_host_is_served(self):
        port = self.topology(kinds=("file",), n_broadcasters=1).front.port
        answer = self.say(port, "PUT /broadcast/x HTTP/1.0",
                          "Content-Length: 7", body=b"content")
        self.assertEqual(answer.status, 201, answer)
        answer = self.say(port, f"GET /media/{answer.data['id']} HTTP/1.0")
        self.assertEqual((answer.status, answer.body), (200, b"content"))
        self.assertEqual(self.say(port, "GET /media HTTP/1.0").status, 200)

    def test_the_host_is_passed_on_as_it_came(self):
        def listed(ex):
            ex.read_all()
            ex.answer(200, "{}")
            return KEEP
        peer = self.fault(on_other=listed)
        port = self.nginx(peer).port
        for host in ("example.org", "example.org:8443", "[::1]:80"):
            answer = self.say(port, "GET /media HTTP/1.1", f"Host: {host}",
                              "Connection: close")
            self.assertEqual(answer.status, 200, answer)
            self.assertEqual(peer.legs[-1].headers["host"], host)


class Refusals(TopologyScenario):

    def test_a_client_that_leaves_in_the_middle_of_chunks_leaves_nothing(self):
        both = self.topology(kinds=("file", "file"))
        client = Client(both.front.port)
        client.send(head("PUT", "/broadcast/x", "Transfer-Encoding: chunked"),
                    chunk(payload(300000)))
        wait_until(lambda: any(r.staged() for r in both.readers),
                   "the upload is on its way")
        client.close()
        self.assert_nothing_left(*both.readers)

    def test_nginx_itself_asks_for_the_body_and_the_refusal_still_arrives(self):
        one = self.topology(kinds=("file",), BROADCASTER_MAX_UPLOAD_BYTES=1000)
        with Client(one.front.port) as client:
            client.send(head("PUT", "/broadcast/x", "Content-Length: 5000000",
                             "Expect: 100-continue"))
            self.assertEqual(client.interim(), 100)
            client.offer(payload(5000000))
            self.assertEqual(client.response().status, 413)
        self.assert_nothing_left(*one.readers)

    def test_the_token_is_the_broadcasters_business(self):
        one = self.topology(kinds=("file",), BROADCASTER_TOKEN="sesame")
        port, data = one.front.port, payload(1000)
        answer = fetch(port, "PUT", "/broadcast/x", body=data)
        self.assertEqual(answer.status, 401, answer)
        answer = fetch(port, "PUT", "/broadcast/x", "Authorization: Bearer sesame",
                       body=data)
        self.assert_everywhere(one, answer, data)

    def test_without_a_ready_instance_the_client_is_told_to_come_back(self):
        front = self.nginx(*[self.fault(listen=False) for _ in range(3)])
        with Client(front.port) as client:
            client.send(head("PUT", "/broadcast/x", "Content-Length: 5000000"))
            answer = client.response()
        self.assertEqual(answer.status, 503, answer)
        self.assertEqual(answer.headers["retry-after"], "1")
        self.assertEqual(answer.json()["status"], 503)


def ready(ex):
    ex.answer(200, "ready\n")
    return KEEP


def draining(ex):
    ex.answer(503, "draining\n")
    return KEEP


class NeverTwice(TopologyScenario):
    """nginx in front of scripted instances."""

    def upload(self, front, size, *fields):
        return fetch(front.port, "PUT", "/broadcast/x", *fields,
                     body=payload(size))

    def test_an_upload_whose_instance_dies_is_sent_to_no_other(self):
        for size in (0, 10, 100000):
            with self.subTest(size=size):
                three = [self.fault(on_put=rst_at(size), on_other=ready)
                         for _ in range(3)]
                front = self.nginx(*three)
                answer = self.upload(front, size)
                self.assertEqual(answer.status, 502, answer)
                self.assertEqual(sum(len(t.puts()) for t in three), 1)
                self.assertEqual(answer.json()["status"], 502)
                front.stop()

    def test_one_that_is_being_stopped_gets_no_upload(self):
        leaving = self.fault(on_other=draining)
        staying = self.fault(on_other=ready)
        front = self.nginx(leaving, staying)
        for key in range(10):
            answer = self.upload(front, 1000, f"Idempotency-Key: {key}")
            self.assertEqual(answer.status, 200, answer)
            self.assertEqual(self.upload(front, 1000).status, 200)
        self.assertEqual(len(staying.puts()), 20)
        self.assertEqual(leaving.puts(), [])

    def test_a_question_is_repeated_elsewhere(self):
        dying = self.fault(on_other=rst_at(0))
        living = self.fault(on_other=ready)
        front = self.nginx(dying, living)
        for _ in range(10):
            self.assertEqual(get(front.port, "/media/x").status, 200)

    def played_by(self, *scripts, ready_ones=(), method="GET"):
        """Instances with these scripts for /media/; ready_ones say /readyz 200."""
        def script_of(number, play):
            def script(ex):
                if ex.leg.target != "/readyz":
                    return play(ex)
                return (ready if number in ready_ones else draining)(ex)
            return script
        three = [self.fault(on_other=script_of(*pair), on_delete=script_of(*pair))
                 for pair in enumerate(scripts)]
        front = self.nginx(*three)
        answers = [fetch(front.port, method, "/media/x") for _ in range(6)]
        asked = [len(t.requests(method, "/media/x")) for t in three]
        front.stop()
        return answers, asked

    def test_a_playback_that_one_being_stopped_refuses_is_played_elsewhere(self):
        for script in (draining, refuse(502, "no reader\n")):
            answers, asked = self.played_by(script, ready, draining,
                                            ready_ones=[1])
            self.assertEqual([a.body for a in answers], [b"ready\n"] * 6)
            self.assertGreater(asked[0] + asked[2], 0)

    def test_a_refusal_of_all_is_passed_on_as_it_is(self):
        def busy(ex):
            ex.answer(503, "all readers are busy\n", "Retry-After: 7")
        answers, _ = self.played_by(busy, busy, busy, ready_ones=[0, 1, 2])
        for answer in answers:
            self.assertEqual((answer.status, answer.body),
                             (503, b"all readers are busy\n"))
            self.assertEqual(answer.headers["retry-after"], "7")

    def test_when_none_is_ready_a_player_is_told_to_come_back(self):
        for answer in self.played_by(*[draining] * 3)[0]:
            self.assertEqual(answer.status, 503)
            self.assertEqual(answer.headers["retry-after"], "1")
            self.assertEqual(answer.json()["status"], 503)

    def test_a_deletion_is_answered_by_whoever_did_it(self):
        honest = refuse(502, "one store could not be reached\n")
        answers, asked = self.played_by(honest, honest, honest,
                                        ready_ones=[0, 1, 2], method="DELETE")
        for answer in answers:
            self.assertEqual((answer.status, answer.body),
                             (502, b"one store could not be reached\n"))
        self.assertEqual(sum(asked), 6)

    def test_a_deletion_whose_instance_dies_is_sent_to_no_other(self):
        answers, asked = self.played_by(rst_at(0), ready, ready,
                                        ready_ones=[0, 1, 2], method="DELETE")
        self.assertEqual(sum(asked), 6)
        self.assertGreater(asked[0], 0)
        self.assertEqual([a.status for a in answers].count(502), asked[0])

    def test_a_deletion_is_not_sent_to_one_that_is_down(self):
        answers, asked = self.played_by(draining, ready, draining,
                                        ready_ones=[1], method="DELETE")
        self.assertEqual([a.status for a in answers], [200] * 6)
        self.assertEqual(asked, [0, 6, 0])

    def test_the_whole_is_ready_as_long_as_one_of_them_is(self):
        front = self.nginx(self.fault(on_other=draining),
                           self.fault(on_other=ready))
        for _ in range(10):
            self.assertEqual(get(front.port, "/readyz").status, 200)

    def test_one_that_is_being_stopped_is_not_played_from(self):
        leaving = self.fault(on_other=draining)
        staying = self.fault(on_other=ready)
        front = self.nginx(leaving, staying)
        for path in ("/media", "/media/x", "/api/songs?q=x"):
            for _ in range(4):
                self.assertEqual(get(front.port, path).status, 200, path)

    def test_fields_arrive_as_the_client_wrote_them_but_for_its_origin(self):
        one = self.fault(on_other=ready)
        front = self.nginx(one)
        long = "title " + "A" * 8000
        get(front.port, "/media/a%2Fb?q=x%20y", "Range: bytes=5-9",
            'If-Range: "abc"', "X-Forwarded-For: 1.2.3.4",
            f"Upload-Metadata: {long}")
        [leg] = one.requests("GET", "/media/a%2Fb?q=x%20y")
        self.assertEqual(leg.headers["range"], "bytes=5-9")
        self.assertEqual(leg.headers["if-range"], '"abc"')
        self.assertEqual(leg.headers["upload-metadata"], long)
        self.assertEqual(leg.headers["host"], "localhost")
        self.assertEqual(leg.headers["x-forwarded-for"], "127.0.0.1")
        self.assertEqual(leg.headers["x-forwarded-proto"], "http")

    def test_an_answer_comes_piece_by_piece(self):
        """As events do: the first one before the second is there."""
        def events(ex):
            ex.raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                   b"Transfer-Encoding: chunked\r\n\r\n")
            ex.raw(chunk(b"event: progress\n\n"))
            ex.gate()
            ex.raw(chunk(b"event: end\n\n") + LAST_CHUNK)
        one = self.fault(on_other=events)
        front = self.nginx(one)
        with Client(front.port) as client:
            client.request("GET", "/broadcast/x/progress")
            client.take_head()
            self.assertEqual(client.take_line(), b"11")
            self.assertEqual(client.take(17), b"event: progress\n\n")
            one.open_gate()


class Rolling(TopologyScenario):

    def test_restarting_one_after_another_refuses_nothing(self):
        both = self.topology(kinds=("file", "file"))
        data = payload(50000)
        kept = self.put(both.front, data).data["id"]
        for broadcaster in both.broadcasters:
            with Client(broadcaster.port) as running:
                running.send(head("PUT", "/broadcast/slow",
                                  "Content-Length: 100000"), data)
                wait_until(lambda: any(r.staged() for r in both.readers),
                           "the slow upload is on its way")
                broadcaster.signal(signal.SIGTERM)
                for _ in range(10):
                    answer = self.put(both.front, data)
                    self.assert_everywhere(both, answer, data)
                    for _ in range(3):      # whoever's turn it is
                        answer = get(both.front.port, f"/media/{kept}")
                        self.assertEqual((answer.status, answer.body),
                                         (200, data))
                running.send(data)
                self.assert_everywhere(both, running.response(), data + data)
            self.assertEqual(broadcaster.wait(), 0)
            broadcaster.restart().wait_ready()
            wait_until(lambda b=broadcaster: self.takes_part(both, b),
                       "nginx gives it uploads again")

    def test_while_one_drains_for_long_no_player_is_refused(self):
        """Its last download goes on; everything else is played by others."""
        one = self.topology(kinds=("file",))
        data = payload(16 << 20)
        object_id = self.put(one.front, data).data["id"]
        leaving = one.broadcasters[0]
        with Client(leaving.port, receive_buffer=65536) as player:
            player.request("GET", f"/media/{object_id}")
            player.take_head()
            leaving.signal(signal.SIGTERM)
            wait_until(lambda: leaving.log_lines("event=drain"), "it drains")
            for first in range(0, 60000, 1000):
                answer = get(one.front.port, f"/media/{object_id}",
                             f"Range: bytes={first}-{first + 999}")
                self.assertEqual(answer.status, 206, answer)
                self.assertEqual(answer.body, data[first:first + 1000])
            self.assertTrue(leaving.is_running())
            self.assertEqual(player.take(len(data)), data)
        self.assertEqual(leaving.wait(), 0)

    def takes_part(self, topology, broadcaster):
        self.assertEqual(self.put(topology.front, b"x").status, 201)
        return broadcaster.metric("broadcaster_uploads_total")


class Large(TopologyScenario):
    """More than 1 GB, both ways; nginx holds none of it."""

    @slow("too much data")
    def test_more_than_1_gb_passes_in_flat_memory_and_on_no_disk(self):
        one = self.topology(kinds=("discard", "discard"))
        before = one.front.memory()
        block, count = payload(1 << 20), 1100
        digest = hashlib.sha256()
        with Client(one.front.port, timeout=120) as client:
            client.send(head("PUT", "/broadcast/large",
                             "Transfer-Encoding: chunked"))
            for number in range(count):
                client.send(chunk(block))
                digest.update(block)
                if number % 100 == 99:
                    self.assertEqual(one.front.spooled(), [])
                    self.assertLess(one.front.memory() - before, 4 << 20)
            client.send(LAST_CHUNK)
            answer = client.response()
        self.assertEqual(answer.status, 201, answer)
        self.assertEqual(answer.data["size"], count << 20)
        self.assertEqual(answer.data["sha256"], digest.hexdigest())

    @slow("too much data")
    def test_a_slow_target_slows_the_client_and_fills_neither_memory_nor_disk(self):
        one = self.topology(kinds=("discard",), BROADCASTER_LAG_TIMEOUT_MS=0)
        before = one.front.memory()
        one.readers[0].signal(signal.SIGSTOP)
        try:
            with Client(one.front.port) as client:
                client.send(head("PUT", "/broadcast/x",
                                 f"Content-Length: {256 << 20}"))
                taken = client.offer(payload(64 << 20), within=1)
                self.assertLess(taken, 32 << 20)
                self.assertEqual(one.front.spooled(), [])
                self.assertLess(one.front.memory() - before, 4 << 20)
        finally:
            one.readers[0].signal(signal.SIGCONT)
