"""Answers of targets that arrive together are each seen at once."""
from harness import Scenario, payload


def say_at_once(*answers):
    """Several answers in one segment, then silence on an open connection."""
    def on_put(ex):
        ex.raw(b"".join(answers))
        ex.stall()
    return on_put


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
FULL = b"HTTP/1.1 507 Full\r\nContent-Length: 18\r\n\r\nthe attic is full\n"


class AnswersTogether(Scenario):

    def test_a_refusal_right_behind_100_continue_is_heard(self):
        bad = self.fault(on_put=say_at_once(CONTINUE, FULL))
        front = self.broadcaster([self.reader(), bad], BROADCASTER_QUORUM="1")
        answer = self.put(front, payload(1 << 16))
        self.assertEqual(answer.status, 201, answer)
        self.assertIn("the attic is full", answer.target(bad.name)["error"])

    def test_interim_answers_without_end_are_refused(self):
        """Also when each stands alone, long after the one before."""
        def on_put(ex):
            ex.proceed()
            for _ in range(40):
                ex.read(1 << 16)
                ex.raw(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            ex.stall()
        bad = self.fault(on_put=on_put)
        front = self.broadcaster([self.reader(), bad], BROADCASTER_QUORUM="1",
                                 BROADCASTER_BUFFER_SIZE=65536,
                                 BROADCASTER_STALL_TIMEOUT_MS=1000)
        answer = self.put(front, payload(8 << 20))
        self.assertEqual(answer.status, 201, answer)
        self.assertIn("interim", answer.target(bad.name)["error"])
