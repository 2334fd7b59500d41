"""Playback, lists and deletion while the n-th allocation fails."""
import importlib

from harness import payload, sha256
from media_peer import catalogue, holder, in_turn, row
from object_api import ID

malloc = importlib.import_module("61_malloc")

DATA = payload(400000, seed=66)


class MediaMalloc(malloc.Malloc):
    """A broadcaster that runs out of memory in front of scripted readers."""

    def start(self, *scripts):
        self.peers = [self.fault(on_other=script) for script in scripts]
        self.front = self.broadcaster(
            self.peers, BROADCASTER_BUFFER_SIZE=16384,
            BROADCASTER_CONNECT_TIMEOUT_MS=1000,
            BROADCASTER_MEDIA_STALL_MS=1000, **self.failing())

    def torture(self, method, target, is_good, count=1):
        def run(n):
            del n
            return [malloc.request(self.front.port, method, target)]

        def check(n, answers):
            self.assertTrue(self.front.is_running(), f"died at {n}")
            answer = answers[0]
            if answer and answer.status == 400: print(n, answer)
            if answer is not None and answer.status == 200:
                self.assertTrue(is_good(answer), answer)
        for _ in range(3):
            self.assertTrue(is_good(run(0)[0]))
        fds, before = self.front.fds(), self.alloc.live()
        self.each_n(run, check, count)
        self.assert_no_leak(before)
        self.assert_fds(self.front, fds + 2 * len(self.peers))
        self.assertTrue(is_good(run(0)[0]))

    def is_data(self, answer):
        return sha256(answer.body) == sha256(DATA)

    def test_a_playback(self):
        self.start(holder(DATA), holder(DATA))
        self.torture("GET", f"/media/{ID % 1}", self.is_data)

    def test_a_playback_and_all_allocations_after(self):
        self.start(holder(DATA), holder(DATA))
        self.torture("GET", f"/media/{ID % 1}", self.is_data, malloc.FOREVER)

    def test_a_playback_that_fails_over(self):
        cut = [holder(DATA, rst_at=100000), holder(DATA)]
        self.start(in_turn(*cut * 500), in_turn(*cut[::-1] * 500))
        self.torture("GET", f"/media/{ID % 1}", self.is_data)

    def test_an_object_that_is_absent(self):
        self.start(catalogue([], status=404), catalogue([], status=500))
        self.torture("GET", f"/media/{ID % 1}", lambda a: a.status == 502)

    def test_a_list(self):
        rows = [row(n) for n in range(5)]
        self.start(catalogue(rows[:3]), catalogue(rows[2:]))

        def is_true(answer):
            page = answer.json()
            held = [r["name"] for r in page["readers"] if r["state"] == "ok"]
            wanted = {r["id"] for name, some in
                      zip([p.name for p in self.peers], (rows[:3], rows[2:]))
                      if name in held for r in some}
            return {r["id"] for r in page["media"]} == wanted
        self.torture("GET", "/media?sort=name", is_true)

    def test_a_list_in_streamx_form(self):
        self.start(catalogue([row(1)]))
        self.torture("GET", "/api/songs",
                     lambda a: a.json()["media"][0]["ID"] == ID % 1)

    def test_a_deletion(self):
        self.start(catalogue([]), catalogue([]))

        def is_true(answer):
            return answer.status != 200 or all(
                r["state"] == "deleted" for r in answer.json()["readers"])
        self.torture("DELETE", f"/media/{ID % 1}", is_true)
