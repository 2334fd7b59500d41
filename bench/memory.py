"""Memory of the broadcaster: per upload, and while bytes flow"""
import selectors
import signal
import socket
import time

from rig import GIB, KIB, MIB, send, thousands

import alloc_count
from client import LAST_CHUNK, Client, chunk, head
from harness import running_uploads, wait_until

LARGE = 8 * GIB
DRIFT_LIMIT = 256           # KiB
MANY = 1000
MANY_RING = 64 * KIB
MANY_LIMIT = 100            # MiB
KERNEL_BUFFER = 16 * KIB    # so that rings fill, not the kernel
DECLARED = 4 * MIB          # of each of the many
PIECE = bytes(256 * KIB)
BOUNDARY = "a-boundary-of-a-form"


# ---- one upload ------------------------------------------------------------------

def peak_after(rig, readers, size):
    """VmHWM in bytes of a fresh broadcaster after one upload."""
    broadcaster = rig.broadcaster(readers)
    send(broadcaster.address, size)
    peak = broadcaster.rss("VmHWM")
    rig.stop(broadcaster)
    return peak


def measure_one(report, rig, options):
    large = options.size or LARGE
    readers = rig.readers(2)
    small_peaks, large_peaks = [], []
    for _ in range(min(options.runs, 3)):
        small_peaks.append(peak_after(rig, readers, MIB))
        large_peaks.append(peak_after(rig, readers, large))
    rows = [["1 MiB", *[thousands(p / KIB) for p in small_peaks]],
            [f"{large / GIB:g} GiB", *[thousands(p / KIB)
                                       for p in large_peaks]]]
    report.table(["peak RSS, KiB, after", *[f"run {i + 1}" for i in
                                            range(len(small_peaks))]], rows)
    drift = (sorted(large_peaks)[len(large_peaks) // 2]
             - sorted(small_peaks)[len(small_peaks) // 2]) / KIB
    report.target(f"median peak after {large / GIB:g} GiB minus after 1 MiB, "
                  "KiB", drift, DRIFT_LIMIT, f"{drift:.0f}")


# ---- many uploads ------------------------------------------------------------------

def open_uploads(port, n):
    """Connections with a head and the first byte of the body sent."""
    uploads = []
    for _ in range(n):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BUFFER)
        sock.sendall(head("PUT", "/broadcast/x",
                          f"Content-Length: {DECLARED}") + b"x")
        sock.setblocking(False)
        uploads.append([sock, DECLARED - 1])
    return uploads


def push(uploads, quiet=1.0):
    """Send from all until all are done, or no one moves for `quiet` seconds."""
    selector = selectors.DefaultSelector()
    for upload in uploads:
        if upload[1] > 0:
            selector.register(upload[0], selectors.EVENT_WRITE, upload)
    while selector.get_map():
        ready = selector.select(quiet)
        if not ready:
            break
        for key, _ in ready:
            upload = key.data
            upload[1] -= upload[0].send(PIECE[:upload[1]])
            if upload[1] == 0:
                selector.unregister(upload[0])
    selector.close()


def finish(uploads):
    """Send the rest; how many were answered with 201."""
    push(uploads, quiet=30)
    n_good = 0
    for sock, _ in uploads:
        sock.setblocking(True)
        sock.settimeout(60)
        n_good += sock.recv(4096).startswith(b"HTTP/1.1 201 ")
        sock.close()
    return n_good


def held_back(broadcaster):
    """Uploads that wait for a target: their ring was full, and still is by half."""
    n_held = 0
    with Client(broadcaster.port) as client:
        for upload in running_uploads(broadcaster):
            client.request("GET", f"/broadcast/{upload['id']}/progress")
            progress = client.response().json()
            n_held += progress["waiting_for"] is not None
    return n_held


def fill(uploads, broadcaster):
    """Send until every upload is held back, which small windows slow down."""
    n_held = 0
    for _ in range(20):
        push(uploads)
        n_held = held_back(broadcaster)
        if n_held == len(uploads):
            break
    return n_held


def measure_many(report, rig):
    readers = rig.readers(2, READER_MAX_UPLOADS=MANY + 10,
                          READER_RECEIVE_BUFFER=KERNEL_BUFFER,
                          READER_BUFFER_SIZE=MANY_RING, READER_MIN_RATE=0)
    broadcaster = rig.broadcaster(
        readers, BROADCASTER_BUFFER_SIZE=MANY_RING,
        BROADCASTER_MAX_UPLOADS=MANY + 10, BROADCASTER_MIN_RATE=0,
        BROADCASTER_SEND_BUFFER=KERNEL_BUFFER, BROADCASTER_LAG_TIMEOUT_MS=0,
        BROADCASTER_RECEIVE_BUFFER=KERNEL_BUFFER,
        BROADCASTER_STALL_TIMEOUT_MS=600000,
        BROADCASTER_STAGE_TIMEOUT_MS=600000)
    before = broadcaster.rss()
    uploads = open_uploads(broadcaster.port, MANY)
    wait_until(lambda: broadcaster.metric(
        "broadcaster_received_bytes_total") == MANY, "all uploads flow", 60)
    opened = broadcaster.rss()
    stop_readers(readers)
    n_held = fill(uploads, broadcaster)
    stalled = broadcaster.rss()
    for reader in readers:
        reader.signal(signal.SIGCONT)
    n_good = finish(uploads)
    show_many(report, before, opened, stalled, n_held, n_good,
              broadcaster.rss())


def stop_readers(readers):
    """SIGSTOP, and until they have stopped."""
    for reader in readers:
        reader.signal(signal.SIGSTOP)
        while ") T " not in reader.proc("stat"):
            time.sleep(0.001)


def show_many(report, before, opened, stalled, n_held, n_good, after):
    each = (stalled - before) / MANY
    report.line()
    report.table(
        [f"{MANY:,} uploads, rings of {MANY_RING // KIB} KiB", "RSS"],
        [["before", f"{before / MIB:.1f} MiB"],
         ["all open, a byte each", f"{opened / MIB:.1f} MiB"],
         [f"readers stopped, {n_held:,} uploads stalled",
          f"{stalled / MIB:.1f} MiB"],
         [f"readers go on, {n_good:,} answered 201",
          f"{after / MIB:.1f} MiB"],
         ["each stalled upload", f"{each / KIB:.1f} KiB"],
         ["without its ring", f"{(each - MANY_RING) / KIB:.1f} KiB"]])
    report.target(f"RSS with {MANY:,} stalled uploads, MiB", stalled / MIB,
                  MANY_LIMIT, f"{stalled / MIB:.1f}")
    report.fact(f"all {MANY:,} uploads were stalled, and succeeded in the end",
                n_held == MANY and n_good == MANY)


# ---- allocations ----------------------------------------------------------------------

def known_size(size):
    return (head("PUT", "/broadcast/x", f"Content-Length: {size}"), PIECE,
            b"")


def chunks(_):
    return (head("PUT", "/broadcast/x", "Transfer-Encoding: chunked"),
            chunk(PIECE), LAST_CHUNK)


def form(size):
    before = (f"--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"f\"; "
              "filename=\"x.bin\"\r\n\r\n").encode()
    after = f"\r\n--{BOUNDARY}--\r\n".encode()
    return (head("POST", "/broadcast",
                 f"Content-Length: {len(before) + size + len(after)}",
                 f"Content-Type: multipart/form-data; boundary={BOUNDARY}")
            + before, PIECE, after)


def count_allocations(rig, readers, framing, early_at, late_at):
    """[before, early, late, after] of one upload that is `late_at` long."""
    count = alloc_count.AllocCount(rig.folder / f"count-{len(rig.programs)}")
    broadcaster = rig.broadcaster(readers, **count.environment)
    start, piece, end = framing(late_at)
    counts = [count.calls()]
    with Client(broadcaster.port, timeout=60) as client:
        client.send(start)
        for sent in range(len(PIECE), late_at + 1, len(PIECE)):
            client.send(piece)
            if sent in (early_at, late_at):
                counts.append(count.calls())
        client.send(end)
        if client.response().status != 201:
            raise SystemExit("bench: an upload failed")
    counts.append(count.calls())
    rig.stop(broadcaster)
    return counts


def measure_allocations(report, rig):
    readers = rig.readers(2)
    rows, same = [], True
    for name, framing in (("known size", known_size), ("chunked", chunks),
                          ("form", form)):
        counts = count_allocations(rig, readers, framing, 64 * MIB, GIB)
        same &= counts[1] == counts[2]
        rows.append([name, *map(thousands, counts)])
    report.line()
    report.table(["allocations", "before", "after 64 MiB", "after 1 GiB",
                  "after the answer"], rows)
    report.fact("none between 64 MiB and 1 GiB", same)


def run(report, rig, options):
    report.title("memory: resident size and allocations of the broadcaster")
    measure_one(report, rig, options)
    measure_many(report, rig)
    measure_allocations(report, rig)
