"""Targets that refuse, die, stall or lie: the others never notice."""
import random
import select
import signal
import socket

import fault_target as script
from client import Client, Curl, get, head, wait_until
from harness import Scenario, payload, sha256
from preload import SlowResolver

QUICK = {"BROADCASTER_CONNECT_TIMEOUT_MS": 1000,
         "BROADCASTER_STALL_TIMEOUT_MS": 700,
         "BROADCASTER_STAGE_TIMEOUT_MS": 1500,
         "BROADCASTER_LAG_TIMEOUT_MS": 300}
SIZE = 3 << 20
GARBAGE = b"\x00\x17 not http at all \xff\xfe\r\n\r\n" * 3

# Misbehaviour -> script of a PUT; every one must fail this target only.
MISBEHAVIOURS = {
    "never answers": script.never_answer,
    "stalls after 100 Continue": script.stall_at(0),
    "stalls in the middle": script.stall_at(SIZE // 2),
    "resets at once": script.rst_at(0),
    "resets after one byte": script.rst_at(1),
    "resets in the middle": script.rst_at(SIZE // 2),
    "resets one byte before the end": script.rst_at(SIZE - 1),
    "closes at once": script.fin_at(0),
    "closes in the middle": script.fin_at(SIZE // 2),
    "half-closes in the middle and reads no more":
        script.half_close_at(SIZE // 2),
    "refuses with 401": script.refuse(401),
    "refuses with 413": script.refuse(413),
    "refuses with 507": script.refuse(507),
    "answers 413 in the middle and keeps the connection":
        script.early(413, at=SIZE // 3),
    "answers 413 in the middle and resets":
        script.early(413, at=SIZE // 3, then="rst"),
    "answers 200 in the middle and closes":
        script.early(200, at=SIZE // 3, then="close"),
    "answers 200 in the middle and resets":
        script.early(200, at=SIZE // 3, then="rst"),
    "answers staged in the middle and closes":
        script.early_staged(SIZE // 3, then="close"),
    "answers 500 after the body": script.refuse_after_body(500),
    "answers 503 after the body": script.refuse_after_body(503),
    "answers garbage": script.say(GARBAGE),
    "answers garbage in the middle": script.say(GARBAGE, SIZE // 2,
                                                read_all=False),
    "answers in HTTP/0.9": script.say(b"<html>hello</html>\n"),
    "answers in HTTP/2.0": script.say(b"HTTP/2.0 200 OK\r\n\r\n"),
    "answers with 1 MB of header": script.say(
        b"HTTP/1.1 200 OK\r\n" + b"X-A: " + b"a" * 1000000 + b"\r\n\r\n"),
    "answers with 1 MB of header fields": script.say(
        b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 125000 + b"\r\n"),
    "answers without end": script.endless_answer,
    "sends interim answers without end": script.interim_flood,
    "answers half a head and stalls": script.say(b"HTTP/1.1 200 O"),
    "answers 307": script.refuse_after_body(307),
    "answers 308 instead of 100": script.refuse(308),
    "answers 204 without a digest": script.refuse_after_body(204, ""),
    "answers another digest": script.lie_about(sha256="0" * 64),
    "answers another size": script.lie_about(size=SIZE - 1),
    "answers no JSON": script.refuse_after_body(200, "thanks"),
    "answers JSON of another kind": script.refuse_after_body(200, "[1, 2]"),
    "answers strings for numbers": script.lie_about(size=str(SIZE)),
}


class OneBadTarget(Scenario):
    """Two good readers, one that misbehaves, a majority suffices."""

    def setUp(self):
        super().setUp()
        self.data = payload(SIZE)
        self.good = [self.fault(), self.fault()]

    def try_one(self, on_put, chunked=False, **settings):
        bad = self.fault(on_put=on_put, receive_buffer=65536)
        front = self.broadcaster([self.good[0], bad, self.good[1]],
                                 BROADCASTER_QUORUM="majority",
                                 **{**QUICK, **settings})
        if chunked:
            answer = Curl("-T", "-", stdin=self.data, timeout=30,
                          *[f"http://127.0.0.1:{front.port}/broadcast/x"])
        else:
            answer = self.put(front, self.data)
        self.assertEqual(answer.status, 201, answer)
        self.assertTrue(answer.data["degraded"], answer)
        self.assertIn(answer.target(bad.name)["state"], ("failed", "detached"))
        self.assertTrue(answer.target(bad.name)["error"], answer)
        for target in self.good:
            leg = target.puts()[-1]
            self.assertEqual(leg.sha256, sha256(self.data))
            self.assertEqual(target.committed,
                             {answer.data["id"]: (SIZE, sha256(self.data))})
            target.committed.clear()
        self.assertEqual(bad.committed, {})
        self.assert_idle(front)
        return front, bad, answer

    def try_last(self, on_put):
        """The same target alone: the upload must fail, and say why."""
        bad = self.fault(on_put=on_put, receive_buffer=65536)
        front = self.broadcaster([bad], **QUICK)
        with Client(front.port) as client:
            client.send(head("PUT", "/broadcast/x", f"Content-Length: {SIZE}"))
            client.offer(self.data)     # it may be answered long before
            answer = client.response()
        self.assertIn(answer.status, (422, 502, 503), answer)
        self.assertEqual(answer.states(), {bad.name: "failed"})
        self.assertEqual(bad.committed, {})
        self.assert_idle(front)

    def test_a_refusal_keeps_its_status_and_words_in_the_receipt(self):
        _, bad, answer = self.try_one(
            script.refuse_after_body(507, "the attic is full\n"))
        error = answer.target(bad.name)["error"]
        self.assertIn("507", error)
        self.assertIn("the attic is full", error)

    def test_a_redirect_is_never_followed(self):
        trap = self.fault()

        def redirect(ex):
            ex.proceed()
            ex.read_all()
            ex.answer(307, "", f"Location: http://{trap.address}/stolen")
        _, bad, answer = self.try_one(redirect)
        self.assertIn("307", answer.target(bad.name)["error"])
        self.assertEqual(trap.n_connections, 0)

    def test_a_stalled_target_is_dropped_and_memory_stays_flat(self):
        bad = self.fault(on_put=script.stall_at(1000), receive_buffer=65536)
        front = self.broadcaster([*self.good, bad], BROADCASTER_QUORUM="2",
                                 **QUICK)
        answer = self.put(front, payload(48 << 20))
        self.assertEqual(answer.status, 201, answer)
        self.assertIn(answer.target(bad.name)["state"], ("detached", "failed"))
        leg = bad.wait_put()
        self.assertFalse(leg.terminated)

    def test_the_bottleneck_is_detached_after_the_lag_timeout(self):
        bad = self.fault(on_put=script.stall_at(1000), receive_buffer=65536)
        front = self.broadcaster([*self.good, bad], BROADCASTER_QUORUM="2",
                                 BROADCASTER_LAG_TIMEOUT_MS=500,
                                 BROADCASTER_STALL_TIMEOUT_MS=60000)
        answer = self.put(front, payload(16 << 20))
        self.assertEqual(answer.status, 201, answer)
        self.assertEqual(answer.target(bad.name)["state"], "detached", answer)
        self.assertFalse(bad.puts()[0].terminated)
        self.assertEqual(bad.commits(), [])

    def test_the_bottleneck_is_waited_for_when_it_is_needed(self):
        slow_one = self.fault(on_put=script.gate_at(1000),
                              receive_buffer=65536)
        front = self.broadcaster([*self.good, slow_one],
                                 BROADCASTER_LAG_TIMEOUT_MS=200,
                                 BROADCASTER_STALL_TIMEOUT_MS=60000)
        data = payload(16 << 20)
        with Client(front.port) as client:
            client.send(head("PUT", "/broadcast/x",
                             f"Content-Length: {len(data)}"))
            sent = client.offer(data, within=1)     # beyond the lag timeout
            slow_one.open_gate()
            client.send(data[sent:])
            answer = client.response()
        self.assertEqual(answer.status, 201, answer)
        self.assertFalse(answer.data["degraded"])

    def test_a_target_that_answers_early_but_takes_all_is_fine_or_failed(self):
        odd = self.fault(on_put=script.early_staged(SIZE // 2))
        front = self.broadcaster([*self.good, odd], BROADCASTER_QUORUM="2",
                                 **QUICK)
        answer = self.put(front, self.data)
        self.assertEqual(answer.status, 201, answer)
        # It promised a digest of half: it must not count as a copy.
        self.assertEqual(answer.target(odd.name)["state"], "failed", answer)

    def test_an_early_200_of_a_plain_endpoint_that_takes_all_counts(self):
        odd = self.fault(on_put=script.early(200, at=1000, then="read"))
        front = self.broadcaster([*self.good, f"http://{odd.address}/x"],
                                 BROADCASTER_QUORUM="2", **QUICK)
        answer = self.put(front, self.data)
        self.assertEqual(answer.status, 201, answer)
        state = answer.target(f"{odd.address}")["state"]
        leg = odd.puts()[0]
        if state == "committed":
            wait_until(lambda: leg.terminated, "the whole body arrived")
            self.assertEqual(leg.sha256, sha256(self.data))

    def test_an_early_200_of_a_plain_endpoint_that_closes_is_failed(self):
        odd = self.fault(on_put=script.early(200, at=1000, then="close"))
        front = self.broadcaster([*self.good, f"http://{odd.address}/x"],
                                 BROADCASTER_QUORUM="2", **QUICK)
        answer = self.put(front, self.data)
        self.assertEqual(answer.status, 201, answer)
        self.assertEqual(answer.target(odd.address)["state"], "failed", answer)


def _add(name, on_put):
    word = "".join(c if c.isalnum() else "_" for c in name)
    setattr(OneBadTarget, f"test_a_target_that_{word}",
            lambda self: self.try_one(on_put))
    setattr(OneBadTarget, f"test_an_only_target_that_{word}",
            lambda self: self.try_last(on_put))


for _name, _script in MISBEHAVIOURS.items():
    _add(_name, _script)


class Unreachable(Scenario):
    """Targets that cannot be reached at all. None of these tests looks at the
    clock: the answer comes before the client's deadline, or they fail."""

    def setUp(self):
        super().setUp()
        self.good = self.fault()

    def try_with(self, entry, **settings):
        front = self.broadcaster([self.good, entry], BROADCASTER_QUORUM="1",
                                 **{**QUICK, **settings})
        answer = self.put(front, b"hello")
        self.assertEqual(answer.status, 201, answer)
        return front, answer.target(entry)

    def test_connection_refused_fails_before_any_timeout(self):
        _, entry = self.try_with(f"127.0.0.1:{self.dead_port()}",
                                 BROADCASTER_CONNECT_TIMEOUT_MS=3600000)
        self.assertEqual(entry["state"], "failed")
        self.assertIn("onnect", entry["error"])

    def test_a_full_backlog_ends_with_the_connect_timeout(self):
        full = self.fault(listen=False)
        full.sock.listen(0)
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", full.port))
            fillers.append(filler)
        front, entry = self.try_with(full.address)
        self.assertEqual(entry["state"], "failed")
        for filler in fillers:
            filler.close()
        self.assertEqual(get(front.port, "/healthz").status, 200)

    def test_a_name_that_does_not_exist(self):
        _, entry = self.try_with("no-such-host.invalid:7001")
        self.assertEqual(entry["state"], "failed")

    def resolved_slowly(self, **settings):
        """A broadcaster whose second target's name is looked up for ever, with
        an upload that waits for it."""
        resolver = SlowResolver(self.folder / "gate")
        self.addCleanup(resolver.open_gate)
        front = self.broadcaster(
            [self.good, "no-such-host.invalid:7001"], BROADCASTER_QUORUM="1",
            **{**QUICK, **resolver.environment, **settings})
        client = Client(front.port)
        self.addCleanup(client.close)
        client.request("PUT", "/broadcast/x", body=b"hello")
        wait_until(resolver.is_asked, "the name is looked up")
        return front, client, resolver

    def test_a_dead_resolver_does_not_block_the_loop(self):
        front, client, resolver = self.resolved_slowly(
            BROADCASTER_CONNECT_TIMEOUT_MS=3600000)
        for _ in range(10):
            self.assertEqual(get(front.port, "/healthz").status, 200)
        readable, _, _ = select.select([client.sock], [], [], 0)
        self.assertEqual(readable, [], "the upload waits all the while")
        resolver.open_gate()
        self.assertEqual(client.response().status, 201)

    def test_a_dead_resolver_fails_its_target_only(self):
        _, client, _ = self.resolved_slowly()
        answer = client.response()
        self.assertEqual(answer.status, 201, answer)
        self.assertEqual(answer.target("no-such-host.invalid:7001")["state"],
                         "failed")

    def test_a_target_that_comes_back_is_used_again(self):
        reader = self.reader()
        front = self.broadcaster([self.good, reader], BROADCASTER_QUORUM="1",
                                 **QUICK)
        self.assertFalse(self.put(front, b"a").data["degraded"])
        reader.kill()
        self.assertTrue(self.put(front, b"b").data["degraded"])
        reader.restart().wait_ready()
        self.assertFalse(self.put(front, b"c").data["degraded"])


class Connections(Scenario):
    """Connections that are kept and used again."""

    def test_connections_are_kept_for_the_next_upload(self):
        target = self.fault()
        front = self.broadcaster([target])
        for i in range(10):
            self.assertEqual(self.put(front, payload(1000, i)).status, 201)
        self.assertLessEqual(target.n_connections, 2)

    def test_a_kept_connection_that_died_does_not_cost_an_upload(self):
        """The target closes after each commit, without announcing it."""
        def commit_and_close(ex):
            ex.read_all()
            ex.target.commit_answer(ex)
        target = self.fault(on_commit=commit_and_close)
        front = self.broadcaster([target])
        for i in range(40):
            data = payload(5000, i)
            answer = self.put(front, data)
            self.assertEqual(answer.status, 201, (i, answer))
            self.assertEqual(bytes(target.puts()[-1].body), data)

    def test_a_restarted_reader_does_not_cost_an_upload(self):
        reader = self.reader()
        front = self.broadcaster([reader])
        for i in range(5):
            data = payload(200000, i)
            self.assert_committed(self.put(front, data), [reader], data)
            reader.stop()
            reader.restart().wait_ready()

    def test_no_descriptor_is_left_after_failures(self):
        bad = self.fault(on_put=script.rst_at(1000))
        good = self.fault()
        front = self.broadcaster([good, bad], BROADCASTER_QUORUM="1", **QUICK)
        self.put(front, payload(50000))
        before = front.fds()
        for i in range(30):
            self.assertEqual(self.put(front, payload(50000, i)).status, 201)
        wait_until(lambda: front.fds() <= before + 4, "descriptors are closed")


class Commit(Scenario):
    """The last step may go wrong as well."""

    def test_a_lost_commit_answer_is_asked_for_again(self):
        target = self.fault(on_commit=script.lose_commit_answer)
        front = self.broadcaster([target], **QUICK)
        answer = self.put(front, b"hello")
        self.assertEqual(answer.status, 201, answer)
        self.assertEqual(len(target.commits()), 2)

    def test_a_refused_commit_of_one_of_three_is_degraded(self):
        good = [self.fault(), self.fault()]
        bad = self.fault(on_commit=script.refuse_commit(500))
        front = self.broadcaster([*good, bad], BROADCASTER_QUORUM="2", **QUICK)
        answer = self.put(front, b"hello")
        self.assertEqual(answer.status, 201, answer)
        self.assertTrue(answer.data["degraded"])
        self.assertEqual(answer.target(bad.name)["state"], "failed")

    def test_a_refused_commit_below_the_policy_is_no_success(self):
        good, bad = self.fault(), self.fault(
            on_commit=script.refuse_commit(500))
        front = self.broadcaster([good, bad], **QUICK)
        answer = self.put(front, b"hello")
        self.assertIn(answer.status, (502, 503), answer)
        self.assertEqual(answer.target(bad.name)["state"], "failed")

    def test_nothing_is_committed_before_every_needed_copy_is_staged(self):
        quick, late = self.fault(), self.fault(on_put=script.gate_at(3))
        front = self.broadcaster([quick, late])
        with Client(front.port) as client:
            client.request("PUT", "/broadcast/x", body=b"hello")
            wait_until(lambda: quick.staged, "the first copy is staged")
            late.wait_put(3)
            self.assertEqual(quick.commits(), [])
            late.open_gate()
            self.assertEqual(client.response().status, 201)
        self.assertEqual(len(quick.committed), 1)

    def test_copies_are_removed_when_the_policy_fails_after_staging(self):
        good = [self.fault(), self.fault()]
        bad = self.fault(on_put=script.refuse_after_body(500))
        front = self.broadcaster([*good, bad], **QUICK)
        answer = self.put(front, b"hello")
        self.assertEqual(answer.status, 502, answer)
        for target in good:
            wait_until(lambda t=target: not t.staged, "the copy is withdrawn")
            self.assertEqual(target.committed, {})


class Many(Scenario):
    """Several targets fail at once, anywhere."""

    def test_survivors_are_exact_wherever_the_others_die(self):
        dice = random.Random(43)
        size = 300000
        data = payload(size)
        for seed in range(25):
            kinds = [script.rst_at, script.fin_at, script.half_close_at,
                     lambda at: script.early(413, at=at, then="rst")]
            bad = [self.fault(on_put=dice.choice(kinds)(dice.randrange(size)))
                   for _ in range(dice.randrange(1, 4))]
            good = [self.fault(), self.fault()]
            targets = [*good, *bad]
            dice.shuffle(targets)
            front = self.broadcaster(targets, BROADCASTER_QUORUM="2",
                                     BROADCASTER_BUFFER_SIZE=dice.choice(
                                         (1024, 4096, 65536)), **QUICK)
            with self.subTest(seed=seed):
                answer = self.put(front, data)
                self.assertEqual(answer.status, 201, answer)
                for target in good:
                    self.assertEqual(target.puts()[0].sha256, sha256(data))
                for target in bad:
                    self.assertEqual(target.committed, {})
            front.stop()
            for target in targets:
                target.close()

    def test_when_all_targets_fail_the_client_is_told_early(self):
        bad = [self.fault(on_put=script.rst_at(10000)) for _ in range(3)]
        front = self.broadcaster(bad, **QUICK)
        with Client(front.port) as client:
            client.send(head("PUT", "/broadcast/x",
                             "Content-Length: 1000000000"))
            self.send_until_answered(client)
            answer = client.response()
        self.assertEqual(answer.status, 502, answer)
        self.assertLessEqual(set(answer.states().values()),
                             {"failed", "aborted"})
        self.assertLess(client.sent, 64 << 20)

    def send_until_answered(self, client):
        """As curl does: send on, and look for an answer in between."""
        piece = payload(65536)
        while client.sent < 64 << 20:
            if select.select([client.sock], [], [], 0)[0]:
                return
            client.offer(piece)

    def test_the_policy_ends_an_upload_as_soon_as_it_cannot_be_met(self):
        good, bad = self.fault(), self.fault(on_put=script.rst_at(10000))
        front = self.broadcaster([good, bad])
        with Client(front.port) as client:
            client.send(head("PUT", "/broadcast/x",
                             "Content-Length: 1000000000"))
            client.send(payload(20000))
            answer = client.response()
        self.assertEqual(answer.status, 502, answer)
        self.assertFalse(good.wait_ended().terminated)
        self.assertEqual(good.commits(), [])

    def test_the_same_target_twice_is_refused_at_the_start(self):
        target = self.fault()
        front = self.broadcaster([target, target], wait=False)
        front.may_fail = True
        self.assertEqual(front.wait(), 2)
        self.assertIn("BROADCASTER_HOST_LIST", front.log())

    def test_a_stopped_reader_of_three_does_not_stop_the_others(self):
        """It takes nothing for longer than a client waits."""
        readers = self.readers(3, READER_STORE="discard")
        front = self.broadcaster(readers, BROADCASTER_QUORUM="2",
                                 BROADCASTER_LAG_TIMEOUT_MS=500,
                                 BROADCASTER_STALL_TIMEOUT_MS=3600000)
        data = payload(64 << 20)
        self.assertEqual(self.put(front, data[:1 << 20]).status, 201)
        readers[1].signal(signal.SIGSTOP)
        answer = self.put(front, data)
        readers[1].signal(signal.SIGCONT)
        self.assertEqual(answer.status, 201, answer)
        self.assertTrue(answer.data["degraded"])
