"""preload.py - libraries of tests/preload/, put before a program's own

    failing = FailAlloc(folder / "control")
    self.reader(**failing.environment)
    failing.arm(3); …; failing.disarm()
"""
import mmap
import os
import pathlib
import struct
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILT = ROOT / "dist" / "obj" / "preload"


def library(name):
    """Path of NAME.so, built when it is missing or old."""
    source = ROOT / "tests" / "preload" / f"{name}.c"
    built = BUILT / f"{name}.so"
    if not built.exists() or built.stat().st_mtime < source.stat().st_mtime:
        BUILT.mkdir(parents=True, exist_ok=True)
        fresh = built.with_suffix(f".{os.getpid()}")
        subprocess.run([os.environ.get("CC", "cc"), "-std=c11", "-O2",
                        "-D_GNU_SOURCE", "-fPIC", "-shared", "-o", fresh,
                        source], check=True)
        fresh.rename(built)
    return built


class SlowResolver:
    """Names below .invalid are looked up until open_gate(); slow_resolver.c."""

    def __init__(self, gate):
        self.gate = gate
        self.environment = {
            "LD_PRELOAD": library("slow_resolver"), "SLOW_RESOLVER_GATE": gate,
            "ASAN_OPTIONS": "verify_asan_link_order=0:"
                            + os.environ.get("ASAN_OPTIONS", "")}

    def is_asked(self):
        return pathlib.Path(f"{self.gate}.asked").exists()

    def open_gate(self):
        self.gate.touch()

    def shut_gate(self):
        """As before; nobody has asked yet."""
        self.gate.unlink()
        pathlib.Path(f"{self.gate}.asked").unlink(missing_ok=True)


class FailAlloc:
    """Fails allocations of one program; see fail_alloc.c."""

    FIRST, COUNT, CALLS, FAILED, LIVE = range(0, 40, 8)

    def __init__(self, path):
        path.write_bytes(bytes(40))
        with open(path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), 40)
        # Freed memory is overwritten, so that its use does not go well.
        self.environment = {
            "LD_PRELOAD": library("fail_alloc"), "FAIL_ALLOC_FILE": path,
            "MALLOC_PERTURB_": "165",
            "ASAN_OPTIONS": "verify_asan_link_order=0:"
                            "allocator_may_return_null=1:"
                            + os.environ.get("ASAN_OPTIONS", "")}

    def put(self, place, value):
        struct.pack_into("=Q", self.map, place, value)

    def get(self, place):
        return struct.unpack_from("=q", self.map, place)[0]

    def arm(self, n, count=1):
        """Fail the n-th to (n + count - 1)-th allocation from now on."""
        self.put(self.FAILED, 0)
        self.put(self.COUNT, count)
        self.put(self.CALLS, 0)
        self.put(self.FIRST, n)

    def disarm(self):
        """How many have failed."""
        self.put(self.FIRST, 0)
        return self.get(self.FAILED)

    def calls(self):
        """Allocations since it was armed."""
        return self.get(self.CALLS)

    def live(self):
        """Blocks that the program holds."""
        return self.get(self.LIVE)


def short_io(seed, interrupt_every=0):
    """Settings with which a program's transfers are short; see short_io.c."""
    return {"LD_PRELOAD": library("short_io"), "SHORT_IO_SEED": seed,
            "SHORT_IO_EINTR": interrupt_every}
