"""alloc_count.py - count a program's allocations while it runs

Builds tests/preload/alloc_count.c with cc into dist/obj/preload/ when it is
missing or old. Start a program with AllocCount(...).environment among its
settings, then ask calls() at any time.
"""
import os
import pathlib
import struct
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SOURCE = ROOT / "tests" / "preload" / "alloc_count.c"
LIBRARY = ROOT / "dist" / "obj" / "preload" / "alloc_count.so"


def build():
    if LIBRARY.exists() and \
            LIBRARY.stat().st_mtime >= SOURCE.stat().st_mtime:
        return
    LIBRARY.parent.mkdir(parents=True, exist_ok=True)
    fresh = LIBRARY.with_suffix(f".{os.getpid()}")
    subprocess.run([os.environ.get("CC", "cc"), "-std=c11", "-O2",
                    "-D_GNU_SOURCE", "-fPIC", "-shared", "-o", fresh, SOURCE],
                   check=True)
    fresh.rename(LIBRARY)


class AllocCount:
    """Counters of one program, in a file that it maps."""

    def __init__(self, path):
        build()
        self.path = pathlib.Path(path)
        self.environment = {"LD_PRELOAD": LIBRARY, "ALLOC_COUNT_FILE": path}

    def read(self):
        """(calls, bytes) so far."""
        return struct.unpack("=QQ", self.path.read_bytes())

    def calls(self):
        return self.read()[0]
