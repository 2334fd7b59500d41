"""Clients that leave, stall, drip or lie: no target ever sees a false end."""
import time

from client import LAST_CHUNK, Client, Closed, chunk, get, head, wait_until
from fault_target import drip, gate_at, stall_at
from harness import Scenario, payload, running_uploads, slow

SIZE = 400000


class Leaving(Scenario):
    """Every way to leave in the middle aborts everywhere."""

    def setUp(self):
        super().setUp()
        self.watched = self.fault()
        self.real = self.reader()
        self.front = self.broadcaster([self.watched, self.real])
        self.data = payload(SIZE)

    def begin(self, *framing):
        client = Client(self.front.port)
        client.send(head("PUT", "/broadcast/half.bin", *framing))
        return client

    def assert_aborted(self):
        """The watched target saw an end that nobody can take for complete."""
        leg = self.watched.wait_ended()
        self.assertFalse(leg.terminated, leg)
        self.assertIn(leg.ended, ("eof", "reset"))
        self.assertEqual(self.watched.commits(), [])
        self.assert_idle(self.front)
        self.assert_nothing_left(self.real)
        wait_until(lambda: self.front.log_lines("client_aborted") or
                   self.front.log_lines("status=499"),
                   "the log says that the client left")

    def test_fin_in_the_middle(self):
        client = self.begin(f"Content-Length: {SIZE}")
        client.send(self.data[:SIZE // 2])
        self.watched.wait_put(1000)
        client.close()
        self.assert_aborted()

    def test_reset_in_the_middle(self):
        client = self.begin(f"Content-Length: {SIZE}")
        client.send(self.data[:SIZE // 2])
        self.watched.wait_put(SIZE // 2)
        client.reset()
        self.assert_aborted()

    def test_half_close_in_the_middle(self):
        client = self.begin(f"Content-Length: {SIZE}")
        client.send(self.data[:SIZE // 2])
        client.half_close()
        self.assert_aborted()

    def test_disconnect_between_chunks_sends_no_last_chunk(self):
        client = self.begin("Transfer-Encoding: chunked")
        client.send(chunk(self.data[:100000]))
        self.watched.wait_put(100000)
        client.close()
        self.assert_aborted()
        self.assertTrue(self.watched.puts()[0].is_chunked)

    def test_disconnect_within_a_chunk(self):
        client = self.begin("Transfer-Encoding: chunked")
        client.send(chunk(self.data[:100000])[:50000])
        self.watched.wait_put(1000)
        client.close()
        self.assert_aborted()

    def test_disconnect_within_the_last_chunk(self):
        client = self.begin("Transfer-Encoding: chunked")
        client.send(chunk(self.data[:1000]), LAST_CHUNK[:3])
        self.watched.wait_put(1000)
        client.close()
        self.assert_aborted()

    def test_disconnect_in_the_middle_of_a_form(self):
        body = (b'--b\r\nContent-Disposition: form-data; name="f"; '
                b'filename="f"\r\n\r\n' + self.data[:100000])
        client = Client(self.front.port)
        client.send(head("POST", "/broadcast",
                         "Content-Type: multipart/form-data; boundary=b",
                         f"Content-Length: {len(body) + 100000}"), body)
        self.watched.wait_put(90000)
        client.close()
        self.assert_aborted()

    def test_a_form_without_close_delimiter_is_refused(self):
        body = (b'--b\r\nContent-Disposition: form-data; name="f"; '
                b'filename="f"\r\n\r\n' + self.data[:100000])
        with Client(self.front.port) as client:
            client.request("POST", "/broadcast",
                           "Content-Type: multipart/form-data; boundary=b",
                           body=body)
            self.assertEqual(client.response().status, 400)
        leg = self.watched.wait_ended()
        self.assertFalse(leg.terminated)
        self.assert_nothing_left(self.real)


class AfterTheBody(Scenario):
    """The body is complete: what the client does now changes nothing."""

    def test_disconnect_before_the_reply_still_finishes_the_upload(self):
        target = self.fault(on_put=gate_at(500))
        reader = self.reader()
        front = self.broadcaster([target, reader])
        data = payload(1000)
        client = Client(front.port)
        client.request("PUT", "/broadcast/x.bin", body=data)
        target.wait_put(500)
        client.close()
        target.open_gate()
        wait_until(target.commits, "the commit of a complete upload")
        wait_until(lambda: len(reader.objects()) == 1, "the object is there")
        [object_id] = reader.objects()
        self.assert_stored(reader, object_id, data)
        self.assert_idle(front)

    def test_reset_right_after_the_body_crashes_nothing(self):
        reader = self.reader()
        front = self.broadcaster([reader])
        for i in range(50):
            client = Client(front.port)
            client.request("PUT", f"/broadcast/{i}", body=payload(2000))
            client.reset()
        self.assert_idle(front)
        good = self.put(front, b"still alive")
        self.assert_committed(good, [reader], b"still alive")
        for object_id in reader.objects():
            self.assertIn(reader.content(object_id).headers["content-length"],
                          ("2000", "11"))

    def test_half_close_after_the_body_still_gets_the_receipt(self):
        reader = self.reader()
        front = self.broadcaster([reader])
        with Client(front.port) as client:
            client.request("PUT", "/broadcast/x.bin", body=b"hello")
            client.half_close()
            self.assert_committed(client.response(), [reader], b"hello")


class Slow(Scenario):
    """Slow clients are cut off only when it is their fault."""

    def test_a_client_below_the_minimum_rate_gets_408(self):
        target = self.fault()
        front = self.broadcaster([target], BROADCASTER_MIN_RATE=500,
                                 BROADCASTER_GRACE_MS=500)
        with Client(front.port) as client:
            client.send(head("PUT", "/broadcast/x", "Content-Length: 1000"))
            began = time.monotonic()
            answer = self.drip_until_answered(client)
            self.assertEqual(answer.status, 408)
            self.assertGreater(time.monotonic() - began, 0.3)
        self.assertFalse(target.wait_ended().terminated)
        self.assert_idle(front)

    def drip_until_answered(self, client):
        """A byte every 50 ms; the drip itself is the fault being tested."""
        client.sock.settimeout(0.05)
        for _ in range(200):
            try:
                client.send(b"x")
                client.fill()
            except TimeoutError:
                continue
            except OSError:
                pass
            break
        client.sock.settimeout(10)
        return client.response()

    def test_a_client_that_announces_more_than_it_sends_is_cut_off(self):
        target = self.fault()
        front = self.broadcaster([target], BROADCASTER_MIN_RATE=500,
                                 BROADCASTER_GRACE_MS=300)
        with Client(front.port) as client:
            client.send(head("PUT", "/broadcast/x", "Content-Length: 99999"),
                        payload(2000))
            self.assertEqual(client.response().status, 408)
            self.assertTrue(client.is_closed())
        self.assertFalse(target.wait_ended().terminated)

    def test_a_steady_slow_client_is_fine_and_no_target_is_blamed(self):
        targets = [self.fault(), self.fault()]
        front = self.broadcaster(targets, BROADCASTER_QUORUM="1",
                                 BROADCASTER_LAG_TIMEOUT_MS=300,
                                 BROADCASTER_STALL_TIMEOUT_MS=300)
        data = payload(6000)
        with Client(front.port) as client:
            client.send(head("PUT", "/broadcast/x", "Content-Length: 6000"))
            for at in range(0, 6000, 200):
                client.send(data[at:at + 200])
                time.sleep(0.05)
            answer = client.response()
        self.assertEqual(answer.status, 201, answer)
        self.assertFalse(answer.data["degraded"], answer)
        for target in targets:
            self.assertEqual(bytes(target.puts()[0].body), data)

    def test_a_client_that_pauses_longer_than_every_target_timeout(self):
        target = self.fault()
        front = self.broadcaster([target], BROADCASTER_LAG_TIMEOUT_MS=200,
                                 BROADCASTER_STALL_TIMEOUT_MS=300,
                                 BROADCASTER_CONNECT_TIMEOUT_MS=300)
        with Client(front.port) as client:
            client.send(head("PUT", "/broadcast/x", "Content-Length: 2000"),
                        payload(1000))
            target.wait_put(1000)
            time.sleep(1)           # the pause is what is tested
            client.send(payload(1000))
            answer = client.response()
        self.assertEqual(answer.status, 201, answer)

    def test_time_in_which_we_do_not_read_is_not_charged_to_the_client(self):
        target = self.fault(on_put=gate_at(1000), receive_buffer=4096)
        front = self.broadcaster([target], BROADCASTER_MIN_RATE=100000,
                                 BROADCASTER_GRACE_MS=200,
                                 BROADCASTER_BUFFER_SIZE=65536,
                                 BROADCASTER_SEND_BUFFER=16384,
                                 BROADCASTER_RECEIVE_BUFFER=16384)
        data = payload(8 << 20)
        with Client(front.port) as client:
            client.send(head("PUT", "/broadcast/x",
                             f"Content-Length: {len(data)}"))
            sent = client.offer(data, within=1)     # far over the grace time
            self.assertLess(sent, len(data))
            target.open_gate()
            client.send(data[sent:])
            answer = client.response()
        self.assertEqual(answer.status, 201, answer)
        self.assertEqual(bytes(target.puts()[0].body), data)

    def test_slow_heads_are_closed_and_others_are_served(self):
        front = self.broadcaster([self.fault()],
                                 BROADCASTER_HEAD_TIMEOUT_MS=2000)
        crowd = []
        for _ in range(2000):       # each sends before its time can be over
            crowd.append(Client(front.port).send(b"GET / HTTP/1.1\r\n"
                                                 b"Host: x\r\nX-A: "))
        self.assertEqual(get(front.port, "/healthz").status, 200)
        for client in crowd:
            self.assertEqual(client.response().status, 408)
            client.close()

    @slow("times are compared")
    def test_a_client_that_does_not_take_its_answer_is_closed(self):
        reader = self.reader(READER_WRITE_TIMEOUT_MS=500)
        front = self.broadcaster([reader])
        big = payload(24 << 20)
        object_id = self.put(front, big).data["id"]
        before = reader.fds()
        with Client(reader.port, receive_buffer=4096) as client:
            client.request("GET", f"/objects/{object_id}")
            client.take(100)
            self.assertGreater(reader.fds(), before)
            wait_until(lambda: reader.fds() <= before, "the reader gives up")

    def test_an_idle_connection_is_closed(self):
        front = self.broadcaster([self.fault()],
                                 BROADCASTER_IDLE_TIMEOUT_MS=300)
        with Client(front.port) as client:
            client.request("GET", "/healthz")
            client.response()
            self.assertTrue(client.is_closed(within=5))


class BackPressure(Scenario):
    """The slowest target sets the pace, and memory stays where it was."""

    @slow("memory is measured")
    def test_a_stalled_target_holds_the_client_back_in_fixed_memory(self):
        target = self.fault(on_put=gate_at(100000), receive_buffer=65536)
        front = self.broadcaster([target])
        data = payload(64 << 20)
        before = front.rss()
        with Client(front.port) as client:
            client.send(head("PUT", "/broadcast/x",
                             f"Content-Length: {len(data)}"))
            sent = client.offer(data, within=1)
            self.assertLess(sent, 8 << 20, "back-pressure came too late")
            self.assertLess(front.rss("VmHWM") - before, 2 << 20)
            target.open_gate()
            client.send(data[sent:])
            self.assertEqual(client.response().status, 201)
        self.assertLess(front.rss("VmHWM") - before, 2 << 20)
        self.assertEqual(target.puts()[0].size, len(data))

    @slow("rates are measured")
    def test_the_client_goes_at_the_slowest_targets_rate(self):
        """12 MiB at 4 MiB/s; that it is not much slower the deadline says."""
        fast, lame = self.fault(), self.fault(on_put=drip(4 << 20),
                                              receive_buffer=65536)
        front = self.broadcaster([fast, lame], BROADCASTER_LAG_TIMEOUT_MS=0)
        data = payload(12 << 20)
        began = time.monotonic()
        answer = self.put(front, data)
        took = time.monotonic() - began
        self.assertEqual(answer.status, 201, answer)
        self.assertGreater(took, 2)

    def test_progress_names_the_bottleneck(self):
        good, stuck = self.fault(), self.fault(on_put=stall_at(1000),
                                               receive_buffer=4096)
        front = self.broadcaster([good, stuck], BROADCASTER_BUFFER_SIZE=65536,
                                 BROADCASTER_STALL_TIMEOUT_MS=8000)

        def progress_of(upload):
            answer = get(front.port, f"/broadcast/{upload['id']}/progress")
            self.assertEqual(answer.status, 200, answer)
            return answer.json()
        with Client(front.port) as client:
            client.send(head("PUT", "/broadcast/x", "Content-Length: 9999999"))
            client.offer(payload(9999999), within=0.5)
            [upload] = running_uploads(front)
            wait_until(lambda: progress_of(upload)["waiting_for"] == stuck.name,
                       "the stuck target is blamed")
            self.assertEqual([t["name"] for t in progress_of(upload)["targets"]],
                             [good.name, stuck.name])
            client.reset()
        self.assert_idle(front)

    def test_when_nothing_runs_progress_is_404(self):
        front = self.broadcaster([self.fault()])
        self.assertEqual(get(front.port, "/broadcast/nothing/progress").status,
                         404)
        self.assert_idle(front)


class Pipelining(Scenario):
    """Requests behind a body wait for its answer."""

    def test_a_second_request_sent_early_is_answered_second(self):
        target = self.fault(on_put=gate_at(500))
        front = self.broadcaster([target])
        with Client(front.port) as client:
            client.request("PUT", "/broadcast/a", body=payload(1000))
            client.request("GET", "/healthz")
            target.wait_put(500)
            target.open_gate()
            self.assertEqual(client.response().status, 201)
            self.assertEqual(client.response().status, 200)

    def test_twenty_pipelined_uploads_are_twenty_objects_in_order(self):
        target = self.fault()
        front = self.broadcaster([target])
        with Client(front.port) as client:
            for i in range(20):
                client.request("PUT", f"/broadcast/{i}",
                               body=payload(100 + i, seed=i))
            for i in range(20):
                answer = client.response()
                self.assertEqual(answer.status, 201)
                self.assertEqual(answer.data["name"], str(i))
                self.assertEqual(answer.data["size"], 100 + i)

    def test_length_too_small_makes_the_rest_a_bad_request(self):
        target = self.fault()
        front = self.broadcaster([target])
        with Client(front.port) as client:
            client.send(head("PUT", "/broadcast/a", "Content-Length: 4"),
                        b"good\x00\x01junk\r\n\r\n")
            self.assertEqual(client.response().status, 201)
            self.assertEqual(client.response().status, 400)
            self.assertTrue(client.is_closed())
        self.assertEqual(bytes(target.puts()[0].body), b"good")

    def test_a_closed_connection_takes_its_pipelined_upload_along(self):
        target = self.fault()
        front = self.broadcaster([target])
        client = Client(front.port)
        client.request("PUT", "/broadcast/a", body=payload(1000))
        client.send(head("PUT", "/broadcast/b", "Content-Length: 1000"),
                    payload(500))
        target.wait_put(1, index=1)
        client.close()
        self.assertFalse(target.wait_ended(index=1).terminated)
        self.assertEqual(len(target.commits()), 1)
        self.assertRaises((Closed, OSError), client.response)
