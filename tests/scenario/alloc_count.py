"""alloc_count.py - count a program's allocations while it runs

Start a program with AllocCount(...).environment among its settings, then ask
calls() at any time.
"""
import pathlib
import struct

from preload import library


class AllocCount:
    """Counters of one program, in a file that it maps."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.environment = {"LD_PRELOAD": library("alloc_count"),
                            "ALLOC_COUNT_FILE": path}

    def read(self):
        """(calls, bytes) so far."""
        return struct.unpack("=QQ", self.path.read_bytes())

    def calls(self):
        return self.read()[0]
