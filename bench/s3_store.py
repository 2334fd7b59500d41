"""A stream into a bucket: the reader, aws s3 cp -, rclone rcat"""
import base64
import os
import random
import resource
import subprocess
import time

from rig import GB, GIB, cpu_of, median

from client import fetch
from s3_daemons import need
from s3_rgw import Rgw
from s3_servers import BUCKET, bring_up
from shell import make_file, new_id

AGAINST_AWS = 1.0           # of its rate
AGAINST_RCLONE = 0.9


def environment(rgw, folder):
    """What aws and rclone need; nobody's own settings."""
    return {"PATH": os.environ["PATH"], "HOME": str(folder),
            "AWS_ACCESS_KEY_ID": rgw.key, "AWS_SECRET_ACCESS_KEY": rgw.secret,
            "AWS_DEFAULT_REGION": rgw.region,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
            "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
            "RCLONE_S3_PROVIDER": "Ceph", "RCLONE_S3_ENV_AUTH": "true",
            "RCLONE_S3_ENDPOINT": rgw.endpoint,
            "RCLONE_S3_NO_CHECK_BUCKET": "true",
            "RCLONE_CONFIG": "/dev/null"}


class Bench:
    """Uploads of one file, each way into the same bucket."""

    def __init__(self, rig, rgw, size):
        self.rgw = rgw
        self.size = size
        self.path = rig.folder / "source"
        make_file(self.path, size)
        self.env = environment(rgw, rig.folder)
        self.reader = rig.reader(
            READER_STORE="s3", READER_S3_ENDPOINT=rgw.endpoint,
            READER_S3_BUCKET=BUCKET, READER_S3_PREFIX="reader/",
            AWS_ACCESS_KEY_ID=rgw.key, AWS_SECRET_ACCESS_KEY=rgw.secret)
        self.digest = None

    def fed(self, command, **options):
        """Run it with the file on its standard input; (user, system) s."""
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with open(self.path, "rb") as source:
            done = subprocess.run(command, stdin=source, check=False,
                                  stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, **options)
        if done.returncode != 0:
            raise SystemExit(f"bench: {command}: {done.stdout.decode()}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return (after.ru_utime - before.ru_utime,
                after.ru_stime - before.ru_stime)

    def by_aws(self):
        return self.fed(["aws", "--endpoint-url", self.rgw.endpoint, "s3",
                         "cp", "--only-show-errors", "-",
                         f"s3://{BUCKET}/aws"], env=self.env)

    def by_rclone(self):
        return self.fed(["rclone", "rcat", f":s3:{BUCKET}/rclone"],
                        env=self.env)

    def by_reader(self):
        """Staged by curl from a pipe, then committed; curl's time as well."""
        object_id = new_id()
        before = cpu_of(self.reader.pid)
        user, system = self.fed(
            ["curl", "-sS", "--fail-with-body", "-T", "-",
             f"http://{self.reader.address}/objects/{object_id}"])
        self.commit(object_id)
        after = cpu_of(self.reader.pid)
        return (user + after[0] - before[0], system + after[1] - before[1])

    def commit(self, object_id):
        if self.digest is None:
            self.digest = subprocess.run(
                ["openssl", "dgst", "-sha256", "-binary", self.path],
                stdout=subprocess.PIPE, check=True).stdout
        answer = fetch(self.reader.port, "POST",
                       f"/objects/{object_id}/commit", "Repr-Digest: sha-256="
                       f":{base64.b64encode(self.digest).decode()}:", body=b"")
        if answer.status != 201:
            raise SystemExit(f"bench: commit: {answer}")

    def clean(self):
        """Nothing in the bucket, and its room given back."""
        client = self.rgw.client()
        client.empty(BUCKET)
        self.rgw.admin("gc", "process", "--include-all")

    def measure(self, way):
        """(MB/s, user CPU s/GB, CPU s/GB)."""
        began = time.monotonic()
        user, system = way()
        took = time.monotonic() - began
        self.clean()
        return (self.size / took / 1e6, user * GB / self.size,
                (user + system) * GB / self.size)


WAYS = {"curl and the reader": Bench.by_reader,
        "aws s3 cp -": Bench.by_aws, "rclone rcat": Bench.by_rclone}


def row(way, runs):
    rates, users, totals = zip(*runs)
    return [way, *[f"{f(rates):.0f}" for f in (median, min, max)],
            f"{median(users):.2f}", f"{median(totals):.2f}"]


def run(report, rig, options):
    need(["aws", "rclone", "openssl"], "awscli rclone openssl")
    size = options.size or GIB
    report.title(f"s3: {size / GIB:g} GiB from a pipe into a bucket of Ceph's "
                 f"RGW, {options.runs} runs each")
    rgw = bring_up(Rgw)
    try:
        bench = Bench(rig, rgw, size)
        runs = {way: [] for way in WAYS}
        for _ in range(options.runs):
            # By lot: who comes first, or after whom, decides a tenth.
            for way in random.sample(list(WAYS), len(WAYS)):
                runs[way].append(bench.measure(lambda: WAYS[way](bench)))
    finally:
        rgw.close()
    report.table(["", "MB/s", "min", "max", "user s/GB", "total s/GB"],
                 [row(way, results) for way, results in runs.items()])
    rates = {way: [rate for rate, _, _ in results]
             for way, results in runs.items()}
    ours, aws, rclone = rates.values()
    for name, theirs, limit in (("aws s3 cp -", aws, AGAINST_AWS),
                                ("rclone rcat", rclone, AGAINST_RCLONE)):
        ratio = median(a / b for a, b in zip(ours, theirs))
        report.target(f"rate against {name}, median of the pairs", ratio,
                      limit, f"{ratio:.2f}", at_most=False)
