"""Progress can be watched from outside, and says who holds the upload up."""
import json
import time

import fault_target as script
from client import Client, get, head, wait_until
from harness import Scenario, payload

SIZE = 8 << 20


class Progress(Scenario):

    def begin(self, n_targets=2, threads=2, **settings):
        """An upload that waits for the last target's gate, the ring full."""
        good = [self.fault() for _ in range(n_targets - 1)]
        self.slow = self.fault(script.gate_at(1000), receive_buffer=8192)
        self.front = self.broadcaster(good + [self.slow],
                                      BROADCASTER_THREADS=threads,
                                      BROADCASTER_SEND_BUFFER=16384,
                                      **settings)
        self.client = Client(self.front.port)
        self.data = payload(SIZE)
        self.client.send(head("PUT", "/broadcast/slow.bin",
                              f"Content-Length: {SIZE}",
                              "Idempotency-Key: watched"))
        self.client.offer(self.data, within=1.0)
        return self.client

    def finish(self):
        self.slow.gate.set()
        self.client.send(self.data[self.client.sent - self.head_size():])
        return self.client.response()

    def head_size(self):
        return len(head("PUT", "/broadcast/slow.bin",
                        f"Content-Length: {SIZE}",
                        "Idempotency-Key: watched"))

    def progress(self, key="watched"):
        return get(self.front.port, f"/broadcast/{key}/progress")

    def test_the_bottleneck_is_named_and_no_other(self):
        self.begin()
        wait_until(lambda: self.progress().json()["waiting_for"]
                   == self.slow.name, "the slow target is blamed")
        first = self.progress().json()
        wait_until(lambda: self.progress().json()["targets"][1]
                   ["bottleneck_ms"] > first["targets"][1]["bottleneck_ms"],
                   "its time grows")
        seen = self.progress().json()
        good, slow = seen["targets"]
        self.assertEqual(good["bottleneck_ms"], 0)
        self.assertEqual(good["lag"], 0)
        self.assertGreater(slow["lag"], 0)
        self.assertEqual(seen["ring"]["size"], 262144)
        self.assertGreater(seen["ring"]["used"], 131072)
        self.assertEqual(seen["size"], SIZE)
        self.assertEqual(seen["state"], "receiving")
        self.assertEqual(seen["policy"],
                         {"copies": 2, "required": [], "met": True})
        self.assertIsNone(slow["detach_in_ms"])      # quorum all: never
        self.assertEqual(self.finish().status, 201)

    def test_a_target_that_can_be_spared_says_when(self):
        self.begin(n_targets=3, BROADCASTER_QUORUM=2,
                   BROADCASTER_LAG_TIMEOUT_MS=60000)
        wait_until(lambda: self.progress().json()["waiting_for"],
                   "a bottleneck")
        slow = self.progress().json()["targets"][2]
        self.assertGreater(slow["detach_in_ms"], 0)
        self.assertLessEqual(slow["detach_in_ms"], 60000)
        self.assertEqual(self.finish().status, 201)

    def test_by_id_by_key_and_in_the_list(self):
        self.begin(threads=4)
        listed = get(self.front.port, "/broadcast").json()["uploads"]
        self.assertEqual([u["name"] for u in listed], ["slow.bin"])
        by_id = self.progress(listed[0]["id"]).json()
        self.assertEqual(by_id["id"], self.progress().json()["id"])
        self.assertEqual(self.finish().status, 201)
        self.assert_idle(self.front)
        self.assertEqual(self.progress().status, 404)

    def test_an_event_stream_goes_on_until_the_end(self):
        self.begin(threads=3)
        watcher = Client(self.front.port)
        watcher.request("GET", "/broadcast/watched/progress",
                        "Accept: text/event-stream")
        events = Events(watcher)
        for name, seen in events:
            self.assertEqual(name, "progress")
            if seen["waiting_for"] == self.slow.name:
                break
        self.assertEqual(self.finish().status, 201)
        rest = list(events)
        self.assertEqual(rest[-1][0], "end")
        self.assertEqual(rest[-1][1]["received"], SIZE)
        states = {t["state"] for t in rest[-1][1]["targets"]}
        self.assertEqual(states, {"committed"})

    def test_a_watcher_who_reads_nothing_or_leaves_disturbs_nobody(self):
        self.begin(threads=2)
        idle = []
        for _ in range(20):
            watcher = Client(self.front.port, receive_buffer=2048)
            watcher.request("GET", "/broadcast/watched/progress",
                            "Accept: text/event-stream")
            idle.append(watcher)
        events = Events(idle[0])
        events.next()
        for watcher in idle[1:10]:
            watcher.reset()
        self.assertEqual(self.finish().status, 201)
        self.assert_idle(self.front)

    def test_four_events_a_second_at_most(self):
        self.begin()
        watcher = Client(self.front.port)
        start = time.monotonic()
        watcher.request("GET", "/broadcast/watched/progress",
                        "Accept: text/event-stream")
        events = Events(watcher)
        for _ in range(6):
            events.next()
        # The first is immediate, five ticks follow: 4 intervals at least.
        self.assertGreater(time.monotonic() - start, 0.9)
        self.assertEqual(self.finish().status, 201)

    def test_a_slow_client_is_nobodys_fault(self):
        good = [self.fault(), self.fault()]
        self.front = self.broadcaster(good, BROADCASTER_LAG_TIMEOUT_MS=100,
                                      BROADCASTER_STALL_TIMEOUT_MS=300)
        with Client(self.front.port) as client:
            client.send(head("PUT", "/broadcast/x", "Content-Length: 20",
                             "Idempotency-Key: watched"))
            for i in range(20):
                time.sleep(0.05)
                client.send(b"x")
                seen = self.progress().json()
                if i < 19 and "waiting_for" in seen:
                    self.assertIsNone(seen["waiting_for"])
            self.assertEqual(client.response().status, 201)


class Events:
    """Server-sent events of a chunked answer, parsed as they come."""

    def __init__(self, client):
        self.client = client
        self.text = b""
        self.status, _, self.headers = client.take_head()
        assert self.status == 200, self.status
        assert self.headers["content-type"] == "text/event-stream"

    def next(self):
        while b"\n\n" not in self.text:
            size = int(self.client.take_line(), 16)
            data = self.client.take(size)
            assert self.client.take(2) == b"\r\n"
            if size == 0:
                raise StopIteration
            self.text += data
        event, self.text = self.text.split(b"\n\n", 1)
        name, data = event.split(b"\n", 1)
        return name.removeprefix(b"event: ").decode(), json.loads(
            data.removeprefix(b"data: "))

    def __iter__(self):
        try:
            while True:
                yield self.next()
        except StopIteration:
            return
