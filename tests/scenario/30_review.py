"""What can go wrong between two uploads, two files, two threads."""
import json
import signal
import threading

import fault_target as script
from client import Client, fetch, get, head, wait_until
from harness import Scenario, payload
from object_api import digest_field


def keyed(front, data, *fields, key="k"):
    return fetch(front.port, "PUT", "/broadcast/a.bin",
                 f"Idempotency-Key: {key}", *fields, body=data)


def at_once(*functions):
    """Call them at the same time; what they returned, in order."""
    barrier = threading.Barrier(len(functions))
    results = [None] * len(functions)

    def run(i):
        barrier.wait()
        results[i] = functions[i]()

    threads = [threading.Thread(target=run, args=(i,))
               for i in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def states(front, key="k"):
    """Each target's state in the upload's progress."""
    answer = get(front.port, f"/broadcast/{key}/progress")
    if answer.status != 200:
        return {}
    return {t["name"]: t["state"] for t in answer.json()["targets"]}


def in_background(function):
    """Start it; returns a function that waits for its result."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()

    def result():
        thread.join()
        return results[0]
    return result


def accept_at_the_gate(ex):
    """A good reader that accepts the object when the test says so."""
    ex.gate()
    return script.stage(ex)


class OneKeyTwice(Scenario):
    """The same Idempotency-Key twice at the same time."""

    ROUNDS = 60

    def race(self, front, contents):
        """Both at once, with a new key a round: lists of statuses."""
        for i in range(self.ROUNDS):
            key = f"race-{i}"
            answers = at_once(*[lambda d=d: keyed(front[n % len(front)], d,
                                                  key=key)
                                for n, d in enumerate(contents)])
            yield key, answers

    def test_one_of_two_uploads_wins_whatever_reader_sees_which_first(self):
        two = self.readers(2)
        fronts = [self.broadcaster(two), self.broadcaster(two[::-1])]
        contents = [payload(3000, seed=1), payload(3000, seed=2)]
        for key, answers in self.race(fronts, contents):
            statuses = sorted(a.status for a in answers)
            self.assertIn(statuses, ([201, 409], [200, 201]), answers)
            won = contents[[a.status for a in answers].index(201)]
            object_id = [a for a in answers if a.status == 201][0].data["id"]
            for reader in two:
                self.assert_stored(reader, object_id, won)

    def test_one_reader_decides_before_the_others_are_asked(self):
        gated, other = self.fault(accept_at_the_gate), self.fault()
        pair = sorted([gated, other], key=lambda t: t.address)
        for target in pair:
            target.scripts["PUT"] = accept_at_the_gate
        front = self.broadcaster(pair[::-1], BROADCASTER_THREADS=2)
        answer = in_background(lambda: keyed(front, b"abc"))
        wait_until(lambda: states(front) == {pair[0].name: "offered",
                                             pair[1].name: "connected"},
                   "only the first one is asked")
        pair[0].open_gate()
        pair[1].wait_put()
        pair[1].open_gate()
        self.assertEqual(answer().status, 201)

    def test_the_next_reader_decides_when_the_first_is_down(self):
        reader = self.reader()
        front = self.broadcaster([f"127.0.0.1:{self.dead_port()}", reader,
                                  f"127.0.0.1:{self.dead_port()}"],
                                 BROADCASTER_QUORUM=1)
        answer = keyed(front, b"abc")
        self.assertEqual(answer.status, 201, answer)
        self.assert_stored(reader, answer.data["id"], b"abc")

    def test_the_loser_of_two_empty_uploads_deletes_nothing(self):
        two = self.readers(2)
        fronts = [self.broadcaster(two), self.broadcaster(two[::-1])]
        for key, answers in self.race(fronts, [b"", b""]):
            stored = [a for a in answers if a.status in (200, 201)]
            self.assertTrue(stored, answers)
            for reader in two:
                self.assert_stored(reader, stored[0].data["id"], b"")


class Refusals(Scenario):

    def test_a_plain_endpoint_may_refuse_the_content_at_its_end(self):
        def refuse_content(ex):
            ex.proceed()
            ex.read_all()
            ex.answer(422, "a virus\n")
        scanner, reader = self.fault(refuse_content), self.reader()
        front = self.broadcaster([f"http://{scanner.address}/scan", reader])
        answer = keyed(front, b"abc")
        self.assertEqual(answer.status, 422, answer)
        self.assert_nothing_left(reader)


class UselessCopies(Scenario):
    """What is staged and will not be committed is deleted, unless another's."""

    def test_a_wrong_copy_is_deleted_while_the_upload_goes_on(self):
        reader = self.reader()
        liar = self.fault(script.lie_about(sha256="0" * 64))
        front = self.broadcaster([reader, liar], BROADCASTER_QUORUM=1,
                                 BROADCASTER_REQUIRED=reader.name)
        answer = keyed(front, b"abc")
        self.assertEqual(answer.status, 201, answer)
        self.assertEqual(answer.target(liar.name)["state"], "failed")
        wait_until(liar.deletes, "the wrong copy is deleted")

    def test_a_reader_that_refused_is_not_told_to_delete(self):
        refusing = self.fault(script.refuse_after_body(409))
        front = self.broadcaster([self.reader(), refusing])
        self.assertEqual(keyed(front, b"abc").status, 409)
        self.assertEqual(keyed(front, b"", key="empty").status, 409)
        self.assertEqual(refusing.deletes(), [])


class Contents(Scenario):
    """What is visible under one id is one content, and the one promised."""

    def test_a_key_completes_no_copy_by_another_content(self):
        three = self.readers(3)
        first = keyed(self.broadcaster(three), b"first")
        for reader in three[1:]:
            fetch(reader.port, "DELETE", f"/objects/{first.data['id']}")
        front = self.broadcaster(three, BROADCASTER_QUORUM=2)
        self.assertEqual(keyed(front, b"other").status, 422)
        self.assert_nothing_left(*three[1:])
        self.assert_stored(three[0], first.data["id"], b"first")
        self.assertEqual(keyed(front, b"first").status, 201)

    def test_a_digest_that_nobody_can_verify_is_refused(self):
        plain = self.fault(script.plain)
        front = self.broadcaster([f"http://{plain.address}/in"])
        answer = keyed(front, b"abc", digest_field(b"abcd"))
        self.assertEqual(answer.status, 400, answer)
        self.assertEqual(plain.puts(), [])

    def test_a_digest_that_nobody_is_left_to_verify_fails_the_upload(self):
        plain, reader = self.fault(script.plain), \
            self.fault(script.refuse_after_body(507))
        front = self.broadcaster([f"http://{plain.address}/in", reader],
                                 BROADCASTER_QUORUM=1)
        answer = keyed(front, b"abc", digest_field(b"abcd"))
        self.assertEqual(answer.status, 502, answer)
        self.assertFalse(plain.wait_ended().terminated)


def form(*files):
    """A form's body and its Content-Type."""
    parts = [b'--b\r\nContent-Disposition: form-data; name="f"; '
             b'filename="%d"\r\n\r\n%s\r\n' % pair
             for pair in enumerate(files)]
    return b"".join(parts) + b"--b--\r\n", \
        "Content-Type: multipart/form-data; boundary=b"


def established(port):
    """Connections that the program on `port` holds open."""
    lines = open("/proc/net/tcp", encoding="ascii").read().splitlines()[1:]
    lines += open("/proc/net/tcp6", encoding="ascii").read().splitlines()[1:]
    return [line for line in lines if line.split()[3] == "01"
            and line.split()[1].endswith(f":{port:04X}")]


class Forms(Scenario):
    """A form is whole or it is not there."""

    def test_the_first_file_is_committed_when_all_others_are(self):
        def commit_at_the_gate(ex):
            ex.gate()
            return script.accept_commit(ex)
        target = self.fault(on_commit=commit_at_the_gate)
        front = self.broadcaster([target], BROADCASTER_THREADS=2)
        body, content_type = form(b"one", b"two", b"three")
        answer = in_background(lambda: fetch(
            front.port, "POST", "/broadcast", content_type,
            "Idempotency-Key: k", body=body))
        wait_until(lambda: len(target.commits()) >= 2, "two are committed")
        target.open_gate()
        self.assertEqual(answer().status, 201, answer())
        ids = [leg.id for leg in target.puts()]
        self.assertEqual({leg.id for leg in target.commits()[:2]},
                         set(ids[1:]))
        self.assertEqual(target.commits()[2].id, ids[0])

    def test_targets_may_close_what_idles_before_the_first_file(self):
        two = self.readers(2, READER_IDLE_TIMEOUT_MS=100)
        front = self.broadcaster(two, BROADCASTER_THREADS=2)
        body, content_type = form(b"one")
        with Client(front.port) as client:
            client.send(head("POST", "/broadcast", content_type,
                             "Idempotency-Key: k",
                             f"Content-Length: {len(body)}"))
            wait_until(lambda: set(states(front).values()) == {"connected"},
                       "the targets are connected")
            wait_until(lambda: not any(established(r.port) for r in two),
                       "the readers have closed what idled")
            client.send(body)
            self.assert_committed(client.response(), two, b"one")

    def test_a_form_is_watched_while_its_key_is_looked_up(self):
        def answer_at_the_gate(ex):
            if ex.leg.id == first_id:
                ex.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n%s\r\n\r\n"
                       % digest_field(b"one").encode())
                return script.KEEP
            ex.gate()
            return script.not_found(ex)
        reader = self.reader()
        body, content_type = form(b"one")
        first_id = fetch(self.broadcaster([reader]).port, "POST", "/broadcast",
                         content_type, "Idempotency-Key: k",
                         body=body).data["id"]
        target = self.fault(on_other=answer_at_the_gate)
        front = self.broadcaster([target], BROADCASTER_THREADS=2)
        answer = in_background(lambda: fetch(
            front.port, "POST", "/broadcast", content_type,
            "Idempotency-Key: k", body=body))
        wait_until(lambda: len(target.requests("HEAD")) == 2,
                   "the second object is looked up")
        with Client(front.port) as watcher:
            watcher.send(head("GET", "/broadcast/k/progress",
                              "Accept: text/event-stream"))
            fields = watcher.take_head()[2]
            target.open_gate()
            self.assertEqual(answer().status, 200)
            self.assertIn(b"event: end", watcher.take_body(fields))


class ManyTargets(Scenario):
    """What grows with the targets has no limit that they exceed."""

    def test_the_longest_progress_event_arrives_whole(self):
        gated = self.fault(script.gate_at(0))
        dead = [f"{i:02}{'x' * 120}=127.0.0.1:{self.dead_port()}"
                for i in range(63)]
        front = self.broadcaster([gated, *dead], BROADCASTER_QUORUM=1)
        answer = in_background(lambda: keyed(front, payload(100000)))
        gated.wait_put()
        wait_until(lambda: list(states(front).values()).count("failed") == 63,
                   "the others have failed")
        with Client(front.port) as watcher:
            watcher.send(head("GET", "/broadcast/k/progress",
                              "Accept: text/event-stream"))
            fields = watcher.take_head()[2]
            gated.open_gate()
            self.assertEqual(answer().status, 201)
            events = watcher.take_body(fields).decode().split("\n\n")
        for event in events[:-1]:
            name, _, data = event.partition("\ndata: ")
            self.assertIn(name, ("event: progress", "event: end"))
            self.assertEqual(len(json.loads(data)["targets"]), 64)
        self.assertEqual(name, "event: end")


class Leaving(Scenario):
    """The end of the process does not wait for those who do not answer."""

    def test_a_withdrawal_that_hangs_does_not_keep_the_process(self):
        staged = self.fault(on_delete=script.never_answer)
        hanging = self.fault(script.gate_at(3))
        front = self.broadcaster([staged, hanging],
                                 BROADCASTER_CONNECT_TIMEOUT_MS=60000)
        front.may_fail = True
        with Client(front.port) as client:
            client.request("PUT", "/broadcast/a", "Idempotency-Key: k",
                           body=b"abc")
            wait_until(lambda: states(front).get(staged.name) == "staged",
                       "one copy is staged")
            front.signal(signal.SIGTERM)
            wait_until(lambda: front.log_lines("event=drain"), "it drains")
            front.signal(signal.SIGTERM)
            self.assertEqual(front.wait(30), 1)
