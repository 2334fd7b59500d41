"""Some of three to five targets die at random bytes, 200 times."""
import os
import random

import fault_target as script
from client import Client, fetch, head, wait_until
from harness import Scenario, payload, sha256

ROUNDS = int(os.environ.get("TORTURE_ROUNDS", "200"))
SEED = int(os.environ.get("TORTURE_SEED", "65"))


def rst_at_commit(ex):
    """Never commits, never answers."""
    ex.read_all()
    ex.reset()


class RandomDeaths(Scenario):

    def setUp(self):
        super().setUp()
        self.boxes = []
        self.outcomes = {}

    def faulty(self, size):
        """A scripted target that dies, and how."""
        at = self.random.randint(0, size)
        kind = self.random.choice(("rst", "fin", "refuse", "lie", "lost",
                                   "rst at commit", "no at commit"))
        options = {
            "rst": {"on_put": script.rst_at(at)},
            "fin": {"on_put": script.fin_at(at)},
            "refuse": {"on_put": script.early(507, at=at, then="close")},
            "lie": {"on_put": script.lie_about(sha256="0" * 64)},
            "lost": {"on_commit": script.lose_commit_answer},
            "rst at commit": {"on_commit": rst_at_commit},
            "no at commit": {"on_commit": script.refuse_commit(500)},
        }[kind]
        return self.fault(**options), kind

    def choose(self, size):
        """Targets in random order; which readers are to be killed, and where."""
        n = self.random.randint(3, 5)
        n_real = self.random.randint(1, 3)
        real = self.random.sample(self.boxes, n_real)
        victims = {box: self.random.randint(0, size) for box in real
                   if self.random.random() < 0.3}
        scripted, kinds = [], []
        for _ in range(n - n_real):
            if self.random.random() < 0.4:
                scripted.append(self.fault())
            else:
                target, kind = self.faulty(size)
                scripted.append(target)
                kinds.append(kind)
        targets = real + scripted
        self.random.shuffle(targets)
        return targets, victims, kinds

    def upload(self, front, data, victims):
        """Send in pieces; each victim is killed when its byte has come."""
        chunked = self.random.random() < 0.5
        framing = "Transfer-Encoding: chunked" if chunked else \
            f"Content-Length: {len(data)}"
        borders = sorted({0, len(data), *victims.values()})
        with Client(front.port) as client:
            try:
                client.send(head("PUT", "/broadcast/x", framing))
                for begin, end in zip(borders, borders[1:] + [None]):
                    for box, at in victims.items():
                        if at == begin:
                            self.kill_at(front, box, at)
                    piece = data[begin:end]
                    if piece:
                        client.send(b"%x\r\n%s\r\n" % (len(piece), piece)
                                    if chunked else piece)
                if chunked:
                    client.send(b"0\r\n\r\n")
            except (BrokenPipeError, ConnectionResetError):
                pass            # an early answer is waiting
            return client.response()

    def kill_at(self, front, box, at):
        """Once the byte before has come; the upload may have ended early."""
        wait_until(lambda: front.metric("broadcaster_received_bytes_total")
                   >= at or front.metric("broadcaster_uploads_active") == 0,
                   f"{at} bytes have come")
        box.kill()

    def has(self, target, object_id, data):
        if target not in self.boxes:
            have = target.committed.get(object_id)
            return have == (len(data), sha256(data))
        if not target.is_running():
            target.restart().wait_ready()
        answer = target.content(object_id)
        if answer.status == 404:
            return False
        self.assertEqual(answer.body, data)
        return True

    def check(self, answer, targets, quorum, data):
        receipt = answer.data
        committed = 0
        for target in targets:
            entry = answer.target(target.name)
            has = self.has(target, receipt["id"], data)
            if entry["state"] == "committed":
                committed += 1
                self.assertTrue(has, entry)
                self.assertEqual(entry["sha256"], sha256(data))
            elif answer.status == 201 or target not in self.boxes:
                self.assert_absent(target, entry, has)
            self.outcomes[entry["state"]] = \
                self.outcomes.get(entry["state"], 0) + 1
        self.assertEqual(answer.status == 201, committed >= quorum, answer)
        self.assertIn(answer.status, (201, 502, 503))
        if answer.status == 201:
            self.assertEqual(receipt["degraded"], committed < len(targets))
        else:
            self.assertEqual(committed, 0, answer)

    def assert_absent(self, target, entry, has):
        """A target that died under its commit may have done it all the same."""
        if not has:
            return
        self.assertTrue(getattr(target, "n_lost", 0) or target in self.killed,
                        entry)

    def one_round(self, i):
        self.random = random.Random(SEED * 100000 + i)
        data = payload(self.random.choice((1, 5000, 300000, 1000000)), seed=i)
        targets, victims, kinds = self.choose(len(data))
        self.killed = set(victims)
        quorum = self.random.randint(1, len(targets))
        front = self.broadcaster(targets, BROADCASTER_QUORUM=quorum,
                                 BROADCASTER_BUFFER_SIZE=65536,
                                 BROADCASTER_CONNECT_TIMEOUT_MS=1000,
                                 BROADCASTER_STALL_TIMEOUT_MS=1000,
                                 BROADCASTER_STAGE_TIMEOUT_MS=1000)
        answer = self.upload(front, data, victims)
        what = f"{answer} {kinds} {sorted(victims.values())} of {len(data)}"
        with self.subTest(seed=SEED, round=i, quorum=quorum, what=what):
            self.check(answer, targets, quorum, data)
        self.outcomes[answer.status] = self.outcomes.get(answer.status, 0) + 1
        self.end_round(front)

    def end_round(self, front):
        self.assertEqual(front.stop(), 0)
        front.held.release()
        self.programs.remove(front)
        for target in self.faults:
            target.close()
            self.assertEqual(target.errors, [])
        self.faults.clear()
        for box in self.boxes:
            if not box.is_running():
                box.restart().wait_ready()
            for object_id in box.objects():
                fetch(box.port, "DELETE", f"/objects/{object_id}")

    def test_the_receipt_is_true_whoever_dies(self):
        self.boxes = self.readers(3, READER_STAGED_TTL=2)
        for i in range(ROUNDS):
            self.one_round(i)
        print(f"    seed {SEED}: {ROUNDS} rounds: {self.outcomes}", flush=True)
        self.assert_nothing_left(*self.boxes)
