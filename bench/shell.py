"""tee and curl in a shell, against the broadcaster and one curl"""
import hashlib
import json
import subprocess
import time
import uuid

from rig import GIB, MIB, median

from client import get, head, Client
from harness import payload, wait_until

PIECE = payload(MIB)
HALF_SEEN = 8 * MIB     # bytes that must be in the stores before the kill


# ---- the ways ------------------------------------------------------------------

def tee_command(readers, object_id, options=""):
    """Everyone's script; whoever reads its output to the end waits for all."""
    urls = [f"http://{r.address}/objects/{object_id}" for r in readers]
    return ["bash", "-c", f"""
        tee {options} >(curl -sS -T - -w 'curl 1 saw %{{http_code}}\\n' {urls[0]}
                        echo "curl 1 exit $?" ) \\
                      >(curl -sS -T - -w 'curl 2 saw %{{http_code}}\\n' {urls[1]}
                        echo "curl 2 exit $?" ) >/dev/null"""]


def curl_command(broadcaster):
    return ["curl", "-sS", "--fail-with-body", "-T", "-",
            "-w", "\\ncurl saw %{http_code}\\n",
            f"http://{broadcaster.address}/broadcast/x"]


def new_id():
    """A version 7 identifier, as the readers want them."""
    ms = int(time.time() * 1000)
    value = ms << 80 | 7 << 76 | (uuid.uuid4().int & ~(7 << 77)) & \
        ((1 << 76) - 1)
    return str(uuid.UUID(int=value & ~(3 << 62) | 2 << 62))


# ---- throughput -------------------------------------------------------------------

def timed(command, path):
    """Seconds from start to the end of the command, fed from a file."""
    with open(path, "rb") as data:
        started = time.monotonic()
        run = subprocess.run(command, stdin=data, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, check=False)
    if run.returncode != 0:
        raise SystemExit(f"bench: {command} failed: {run.stdout}")
    return time.monotonic() - started


def make_file(path, size):
    with open(path, "wb") as data:
        for _ in range(size // MIB):
            data.write(PIECE)


def measure_throughput(report, rig, options):
    size = options.size or 2 * GIB
    path = rig.folder / "source"
    make_file(path, size)
    readers = rig.readers(2)
    broadcaster = rig.broadcaster(readers)
    rates = {"tee and two curls": [], "one curl and the broadcaster": []}
    for _ in range(options.runs):
        for who, command in zip(rates, (tee_command(readers, new_id()),
                                        curl_command(broadcaster))):
            rates[who].append(size / timed(command, path) / 1e6)
    path.unlink()
    report.table(
        [f"{size / GIB:g} GiB to two discard readers", "MB/s", "min", "max"],
        [[who, *[f"{f(r):.0f}" for f in (median, min, max)]]
         for who, r in rates.items()])
    ratio = median(b / a for a, b in zip(*rates.values()))
    report.line(f"the broadcaster against tee: {ratio:.2f} of its throughput")


# ---- a reader that dies ---------------------------------------------------------------

def bytes_in(reader):
    """Bytes that its file store holds, visible or not."""
    return sum(f.stat().st_size for f in
               reader.settings["READER_FILE_DIR"].rglob("data"))


def feed_and_kill(command, readers, n_pieces):
    """Half the source, SIGKILL to the second reader, the other half.

    Returns (exit status, what was printed, were all bytes taken).
    """
    process = subprocess.Popen(command, stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT)
    taken = True
    try:
        for i in range(n_pieces):
            if i == n_pieces // 2:
                wait_until(lambda: all(bytes_in(r) >= HALF_SEEN
                                       for r in readers), "stores hold some")
                readers[1].kill()
            process.stdin.write(PIECE)
        process.stdin.flush()
    except BrokenPipeError:
        taken = False
    try:
        process.stdin.close()
    except BrokenPipeError:
        taken = False
    output = process.stdout.read().decode()
    return process.wait(), output, taken


def surviving(reader, object_id, size, digest):
    """What the reader that was not killed holds, in words."""
    if object_id:
        with Client(reader.port) as client:
            client.send(head("HEAD", f"/objects/{object_id}"))
            answer = client.response(to_head=True)
        if "upload-offset" in answer.headers:
            held = int(answer.headers["upload-offset"])
            return f"staged {held // MIB} of {size // MIB} MiB"
    found = json.loads(get(reader.port, "/objects").body)["objects"]
    if not found:
        return "nothing visible"
    body = get(reader.port, f"/objects/{found[0]['id']}").body
    same = hashlib.sha256(body).hexdigest() == digest
    return f"visible, {'identical' if same else 'NOT THE SAME'}"


def said(output):
    """The shell's lines; of a receipt its outcome and its targets' states."""
    lines = [line for line in output.splitlines() if line.startswith("curl ")]
    for line in output.splitlines():
        if not line.startswith("{"):
            continue
        with_targets = json.loads(line).get("data", {})
        lines += ["+".join(t["state"] for t in with_targets.get("targets", []))]
        lines += ["degraded"] if with_targets.get("degraded") else []
    return "; ".join(lines)


def kill_tee(rig, options):
    def way(readers):
        object_id = new_id()
        return tee_command(readers, object_id, options), object_id
    return way


def kill_broadcaster(rig, quorum):
    def way(readers):
        broadcaster = rig.broadcaster(readers, BROADCASTER_QUORUM=quorum)
        return curl_command(broadcaster), None
    return way


def kill_one(rig, way, n_pieces):
    """A row of the table."""
    readers = [rig.file_reader(), rig.file_reader()]
    command, object_id = way(readers)
    status, output, taken = feed_and_kill(command, readers, n_pieces)
    digest = hashlib.sha256()
    for _ in range(n_pieces):
        digest.update(PIECE)
    held = surviving(readers[0], object_id, n_pieces * MIB,
                     digest.hexdigest())
    return [status, "yes" if taken else "no", held, said(output)]


def measure_kill(report, rig, options):
    n_pieces = 64
    ways = {"tee": kill_tee(rig, ""), "tee -p": kill_tee(rig, "-p"),
            "broadcaster, quorum all": kill_broadcaster(rig, "all"),
            "broadcaster, quorum 1": kill_broadcaster(rig, "1")}
    rows = [[who, *kill_one(rig, way, n_pieces)] for who, way in ways.items()]
    report.line()
    report.table([f"reader 2 killed in {n_pieces} MiB", "exit",
                  "took all", "reader 1 holds", "what was said"], rows)
    held = {row[0]: row[3] for row in rows}
    report.fact("after a kill the survivor holds the whole object or nothing "
                "visible",
                held["broadcaster, quorum all"] == "nothing visible" and
                held["broadcaster, quorum 1"] == "visible, identical")


def run(report, rig, options):
    report.title(f"shell: tee >(curl …) >(curl …) against the broadcaster, "
                 f"{options.runs} runs each")
    measure_throughput(report, rig, options)
    measure_kill(report, rig, options)
