#!/usr/bin/env python3
"""s3_servers.py - private S3 servers for tests: Ceph's RGW, Swift with s3api

    scripts/s3_servers.py run [--swift] COMMAND...   start one, run a command
                          with TEST_S3_* in its environment, stop it
    scripts/s3_servers.py start [--swift] DIR        start one in DIR, print the
                          variables for a shell (eval "$(…)")
    scripts/s3_servers.py stop DIR
    scripts/s3_servers.py admin DIR WORDS...         radosgw-admin

The variables are TEST_S3_ENDPOINT, TEST_S3_BUCKET (made, empty), TEST_S3_KEY,
TEST_S3_SECRET, TEST_S3_REGION; with RGW also TEST_S3_TLS_ENDPOINT and
TEST_S3_CA_FILE. Everything listens on free ports of the loopback interface and
runs as nobody when we are root. Exit status: the command's; 3 when packages are
missing or no server comes up.
"""
import os
import shlex
import signal
import subprocess
import sys

sys.dont_write_bytecode = True

from s3_daemons import Failed, Missing, kill_recorded   # noqa: E402
from s3_rgw import Rgw, admin_of                        # noqa: E402

BUCKET = "test-bucket"
TRIES = 3                   # a free port may be taken before it is bound
NO_SERVER = 3


def bring_up(cls, **options):
    """A running server; whoever calls closes it."""
    for left in reversed(range(TRIES)):
        server = cls(**options)
        try:
            server.start()
            server.client().create_bucket(BUCKET)
            return server
        except BaseException as error:
            server.close()
            if not left or not isinstance(error, (Failed, OSError)):
                raise
            print(f"s3_servers: trying again: {error}", file=sys.stderr)
    return None


def variables(server):
    found = {"TEST_S3_ENDPOINT": server.endpoint, "TEST_S3_BUCKET": BUCKET,
             "TEST_S3_KEY": server.key, "TEST_S3_SECRET": server.secret,
             "TEST_S3_REGION": server.region}
    if isinstance(server, Rgw):
        found["TEST_S3_TLS_ENDPOINT"] = server.tls_endpoint
        found["TEST_S3_CA_FILE"] = str(server.ca)
    return found


def server_class(words):
    """Take --swift from the words, if it is there."""
    if words[:1] != ["--swift"]:
        return Rgw
    del words[0]
    from s3_swift import Swift      # it needs what few people have installed
    return Swift


def run(words):
    server = bring_up(server_class(words))
    try:
        command = subprocess.Popen(words, env={**os.environ,
                                               **variables(server)})
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda n, _: command.send_signal(n))
        signal.signal(signal.SIGINT, signal.SIG_IGN)    # it gets its own
        status = command.wait()
        return status if status >= 0 else 128 - status
    finally:
        server.close()


def start(words):
    server = bring_up(server_class(words), folder=words[0], detached=True)
    for name, value in variables(server).items():
        print(f"export {name}={shlex.quote(value)}")
    return 0


def main():
    words = sys.argv[2:]
    action = sys.argv[1] if words else "help"
    try:
        if action == "run":
            return run(words)
        if action == "start":
            return start(words)
        if action == "stop":
            kill_recorded(words[0])
            return 0
        if action == "admin":
            return admin_of(words[0], words[1:])
    except (Failed, Missing, OSError) as error:
        print(f"s3_servers: {error}", file=sys.stderr)
        return NO_SERVER
    print(__doc__)
    return 2


if __name__ == "__main__":
    sys.exit(main())
