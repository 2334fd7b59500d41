"""Memory does not depend on how much flows: peak size, and allocations."""
import alloc_count
from client import LAST_CHUNK, Client, chunk, head
from harness import Scenario, slow, wait_until

KIB, MIB = 1 << 10, 1 << 20
PIECE = bytes(256 * KIB)
BOUNDARY = "a-boundary-of-a-form"


class Memory(Scenario):

    def start(self, **settings):
        readers = self.readers(2, READER_STORE="discard")
        return self.broadcaster(readers, **settings)

    # ---- resident size -----------------------------------------------------------

    def peak_after(self, size):
        """VmHWM of a fresh broadcaster that took one upload of `size`.

        The ring is small, because a quick small upload touches only a part of
        it: what is looked for is what grows beside it.
        """
        broadcaster = self.start(BROADCASTER_BUFFER_SIZE=64 * KIB)
        with Client(broadcaster.port) as client:
            client.send(head("PUT", "/broadcast/x", f"Content-Length: {size}"))
            for _ in range(size // len(PIECE)):
                client.send(PIECE)
            self.assertEqual(client.response().status, 201)
        return broadcaster.rss("VmHWM")

    @slow("sanitizers keep memory of their own")
    def test_the_peak_is_the_same_for_1_mib_and_512_mib(self):
        small = self.peak_after(1 * MIB)
        large = self.peak_after(512 * MIB)
        self.assertLessEqual(large - small, 256 * KIB)

    @slow("sanitizers keep memory of their own")
    def test_a_hundred_stalled_uploads_cost_what_is_documented(self):
        """See broadcaster/README.md; one thread, two targets."""
        n, ring = 100, 64 * KIB
        readers = self.readers(2, READER_STORE="discard")
        broadcaster = self.broadcaster(readers, BROADCASTER_BUFFER_SIZE=ring)
        self.put(broadcaster, bytes(ring))
        broadcaster.metric("broadcaster_uploads_active")
        before = broadcaster.rss()
        clients = [self.upload(broadcaster) for _ in range(n)]
        for client in clients:
            self.addCleanup(client.close)
            client.send(head("PUT", "/broadcast/x",
                             f"Content-Length: {ring + 1}"), bytes(ring))
        wait_until(lambda: broadcaster.metric(
            "broadcaster_received_bytes_total") == (n + 1) * ring,
            "all uploads have filled their rings once")
        cost = broadcaster.rss() - before
        self.assertLessEqual(cost, 2 * 352 * KIB +
                             n * (ring + (12 + 2 * 3) * KIB))
        for client in clients:
            client.send(b"x")
            self.assertEqual(client.response().status, 201)

    # ---- allocations --------------------------------------------------------------

    def assert_flows_without_allocating(self, start, piece, end):
        """Count after 16 MiB and after 128 MiB of the same upload."""
        count = alloc_count.AllocCount(self.folder / "allocations")
        broadcaster = self.start(**count.environment)
        with Client(broadcaster.port) as client:
            client.send(start)
            for _ in range(16 * MIB // len(PIECE)):
                client.send(piece)
            early = count.calls()
            for _ in range(112 * MIB // len(PIECE)):
                client.send(piece)
            late = count.calls()
            client.send(end)
            self.assertEqual(client.response().status, 201)
        self.assertGreater(early, 0, "the counter is not in the program")
        self.assertGreater(count.calls(), late, "an answer needs memory")
        self.assertEqual(late, early)

    @slow("a preloaded malloc")
    def test_nothing_is_allocated_while_a_body_of_known_size_flows(self):
        self.assert_flows_without_allocating(
            head("PUT", "/broadcast/x", f"Content-Length: {128 * MIB}"),
            PIECE, b"")

    @slow("a preloaded malloc")
    def test_nothing_is_allocated_while_a_chunked_body_flows(self):
        self.assert_flows_without_allocating(
            head("PUT", "/broadcast/x", "Transfer-Encoding: chunked"),
            chunk(PIECE), LAST_CHUNK)

    @slow("a preloaded malloc")
    def test_nothing_is_allocated_while_a_form_flows(self):
        before = (f"--{BOUNDARY}\r\nContent-Disposition: form-data; "
                  "name=\"f\"; filename=\"x.bin\"\r\n\r\n").encode()
        after = f"\r\n--{BOUNDARY}--\r\n".encode()
        size = len(before) + 128 * MIB + len(after)
        self.assert_flows_without_allocating(
            head("POST", "/broadcast", f"Content-Length: {size}",
                 f"Content-Type: multipart/form-data; boundary={BOUNDARY}")
            + before, PIECE, after)
