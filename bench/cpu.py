"""CPU time and system calls of the broadcaster against a bare loop"""
import pathlib
import re
import signal
import subprocess

from rig import CpuMeter, GB, GIB, KIB, MIB, Relay, median, send

RING = 256 * KIB
TRACED = 256 * MIB
USER_LIMIT = 0.05       # seconds a GB
RATIO_LIMIT = 1.10


def upload_by_broadcaster(broadcaster, size):
    with CpuMeter(broadcaster.pid) as cpu:
        sent = send(broadcaster.address, size)
    return {"user": cpu.user, "total": cpu.total, "seconds": sent["seconds"]}


def upload_by_relay(readers, size):
    relay = Relay(readers)
    sent = send(relay.address, size)
    usage = relay.wait()
    return {"user": usage["user"], "total": usage["user"] + usage["system"],
            "seconds": sent["seconds"]}


# ---- system calls -------------------------------------------------------------

def has_perf():
    """May perf count system calls here?"""
    try:
        run = subprocess.run(
            ["perf", "stat", "-e", "raw_syscalls:sys_enter", "true"],
            capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return False
    return run.returncode == 0 and "not supported" not in run.stderr


def count_by_perf(pid, upload):
    """System calls of a process during upload(), at full speed."""
    perf = subprocess.Popen(
        ["perf", "stat", "-x", ";", "-e", "raw_syscalls:sys_enter", "-p",
         str(pid)], stderr=subprocess.PIPE, text=True)
    wait_attached(perf.pid)
    upload()
    perf.send_signal(signal.SIGINT)
    return int(perf.communicate()[1].split(";")[0])


def wait_attached(pid):
    """Until perf sleeps, having opened its counters."""
    poll = pathlib.Path(f"/proc/{pid}/wchan")
    while not re.search("poll|nanosleep|wait", poll.read_text()):
        pass


def traced(folder, name, pid, upload):
    """{call: number} of a process during upload(), by strace -c."""
    out = folder / name
    strace = subprocess.Popen(["strace", "-c", "-f", "-o", out, "-p", str(pid)],
                              stderr=subprocess.PIPE, text=True)
    strace.stderr.readline()    # "attached"
    upload()
    strace.send_signal(signal.SIGINT)
    strace.communicate()
    return parse_strace(out.read_text())


def parse_strace(text):
    rows = [line.split() for line in text.splitlines()]
    return {row[-1]: int(row[3]) for row in rows
            if len(row) >= 5 and row[3].isdigit() and row[-1] != "total"}


def system_calls(rig, readers, broadcaster):
    """[(who, calls a MiB, the most frequent ones)]"""
    def to_broadcaster():
        send(broadcaster.address, TRACED)

    def to(relay):
        return lambda: (send(relay.address, TRACED), relay.wait())

    relay = Relay(readers)
    found = [("broadcaster", traced(rig.folder, "strace-broadcaster",
                                    broadcaster.pid, to_broadcaster)),
             ("bare loop", traced(rig.folder, "strace-relay",
                                  relay.process.pid, to(relay)))]
    if has_perf():
        relay = Relay(readers)
        found += [("broadcaster, untraced",
                   {"all": count_by_perf(broadcaster.pid, to_broadcaster)}),
                  ("bare loop, untraced",
                   {"all": count_by_perf(relay.process.pid, to(relay))})]
    return found


def show_calls(report, found):
    n = TRACED / MIB
    rows = []
    for who, calls in found:
        often = sorted(calls, key=calls.get, reverse=True)[:4]
        rows.append([who, f"{sum(calls.values()) / n:.1f}",
                     "  ".join(f"{c} {calls[c] / n:.1f}" for c in often)])
    report.line()
    report.table([f"system calls a MiB ({TRACED // MIB} MiB)", "all",
                  "most frequent"], rows)


# ---- the benchmark ----------------------------------------------------------------

def show_cpu(report, runs, size):
    rows = []
    for who, results in runs.items():
        per_gb = [GB / size * r["total"] for r in results]
        rows.append([
            who, f"{median(GB / size * r['user'] for r in results):.3f}",
            f"{median(per_gb):.3f}", f"{min(per_gb):.3f}",
            f"{max(per_gb):.3f}",
            f"{median(size / r['seconds'] / 1e6 for r in results):.0f}"])
    report.table(["", "user s/GB", "total s/GB", "min", "max", "MB/s"], rows)


def run(report, rig, options):
    size = options.size or 4 * GIB
    report.title(f"cpu: {size / GIB:g} GiB to two discard readers, ring "
                 f"{RING // KIB} KiB, one thread, {options.runs} runs each")
    readers = rig.readers(2)
    broadcaster = rig.broadcaster(readers, BROADCASTER_BUFFER_SIZE=RING)
    send(broadcaster.address, 64 * MIB)
    runs = {"broadcaster": [], "bare loop": []}
    for _ in range(options.runs):
        runs["broadcaster"].append(upload_by_broadcaster(broadcaster, size))
        runs["bare loop"].append(upload_by_relay(readers, size))
    show_cpu(report, runs, size)
    user = median(GB / size * r["user"] for r in runs["broadcaster"])
    ratio = median(b["total"] / r["total"] for b, r in zip(*runs.values()))
    show_calls(report, system_calls(rig, readers, broadcaster))
    report.line()
    report.target("user CPU, s/GB", user, USER_LIMIT, f"{user:.3f}")
    report.target("total CPU, broadcaster / bare loop, median of the pairs",
                  ratio, RATIO_LIMIT, f"{ratio:.2f}")
