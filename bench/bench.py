#!/usr/bin/env python3
"""bench.py - run the benchmarks, print their tables, keep them in dist/bench/

Every figure that a target is about is a comparison within the same run, or
bytes; none depends on how fast the machine is.
"""
import argparse
import importlib
import os
import pathlib
import signal
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE))
os.environ.setdefault("SCENARIO_BIN", "dist")

from rig import RESULTS, Report, Rig, TOOLS     # noqa: E402

ALL = ("cpu", "memory", "small", "shell", "playback", "pg_store", "s3_store")
UNITS = {"K": 10, "M": 20, "G": 30}


def size(text):
    """4G, 512M, 1000."""
    if text[-1:] in UNITS:
        return int(text[:-1]) << UNITS[text[-1]]
    return int(text)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("names", nargs="*", metavar="NAME",
                        help=f"of {', '.join(ALL)}; default: all")
    parser.add_argument("--runs", type=int, default=5,
                        help="repetitions, in turns (5)")
    parser.add_argument("--size", type=size, default=None,
                        help="bytes of the large uploads, such as 512M")
    options = parser.parse_args()
    unknown = set(options.names) - set(ALL)
    if unknown:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    return options


def main():
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    missing = [p for p in (TOOLS / "send", TOOLS / "relay") if not p.exists()]
    if missing:
        print("bench: not built; run make bench", file=sys.stderr)
        return 2
    names = options.names or ALL
    suffix = "-".join(names) if options.names else "all"
    report = Report(RESULTS / f"results-{suffix}.txt")
    report.line(f"machine: {os.cpu_count()} shared cores, Debian 12")
    for name in names:
        with Rig() as rig:
            importlib.import_module(name).run(report, rig, options)
    report.line()
    report.line(f"{report.n_missed} targets missed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
