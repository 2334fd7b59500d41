#!/usr/bin/env python3
"""run.py - run the scenarios: real programs, raw clients, scripted targets

    tests/scenario/run.py [-v] [--list] [--folder tests/torture] [WORD ...]

Files are NN_name.py beside this one, or in --folder; each tells one story, its
first line says which. WORDs select tests whose file, class or name contains one
of them. The closing line is "N passed, N failed" (and "N skipped", with the
reason above); it is also written to $COUNTS. Environment: see harness.py.
"""
import argparse
import importlib.util
import os
import pathlib
import re
import sys
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent.parent / "scripts")]
sys.dont_write_bytecode = True

from harness import BIN     # noqa: E402 (the path is set above)


def load(path):
    """The tests of one file; its name starts with a digit, so no import."""
    name = "scenario_" + path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def flatten(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from flatten(item)
        else:
            yield item


def matches(word, name):
    """A number is a file's; anything else may stand anywhere."""
    if re.match(r"\d\d_", word):
        return name.startswith(word)
    return word in name


def discover(folder, words):
    """[(path, module, tests)] in order of the files' numbers."""
    found = []
    for path in sorted(folder.glob("[0-9][0-9]_*.py")):
        module = load(path)
        suite = unittest.defaultTestLoader.loadTestsFromModule(module)
        tests = [t for t in flatten(suite)
                 if not words or any(matches(w, short(t)) for w in words)]
        if tests:
            found.append((path, module, tests))
    return found


def short(test):
    """Class.method; also of what unittest reports for a failed setUpClass."""
    return test.id().removeprefix("scenario_")


def sentence(test):
    return test._testMethodName.removeprefix("test_").replace("_", " ")


class Result(unittest.TestResult):
    """Prints a line a test; failures at once, with what the programs logged."""

    def __init__(self, verbose):
        super().__init__()
        self.verbose = verbose
        self.n_passed = 0
        self.slowest = []

    def startTest(self, test):
        super().startTest(test)
        self.began = time.monotonic()
        self.n_bad = len(self.failures) + len(self.errors)

    def stopTest(self, test):
        super().stopTest(test)
        took = time.monotonic() - self.began
        self.slowest.append((took, short(test)))
        if len(self.failures) + len(self.errors) > self.n_bad:
            word = "FAILED"
        elif self.skipped and self.skipped[-1][0] is test:
            word = "skipped"
        else:
            word = "ok"
            self.n_passed += 1
        if self.verbose or word != "ok":
            print(f"  {word:7} {sentence(test)} ({took:.1f} s)", flush=True)

    def report(self, kind, test, err):
        super().addError(test, err) if kind == "error" else \
            super().addFailure(test, err)
        records = self.errors if kind == "error" else self.failures
        print(f"--- {short(test)}\n{records[-1][1]}", flush=True)
        show = getattr(test, "show_programs", None)
        if show:
            show()

    def addError(self, test, err):
        self.report("error", test, err)

    def addFailure(self, test, err):
        self.report("failure", test, err)

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self.failures.append((subtest, self._exc_info_to_string(err, test)))
            print(f"--- {subtest}\n{self.failures[-1][1]}", flush=True)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        print(f"  why: {reason}", flush=True)


def closing_line(what, result):
    bad = len(result.failures) + len(result.errors)
    skipped = f", {len(result.skipped)} skipped" if result.skipped else ""
    return f"{what}: {result.n_passed} passed, {bad} failed{skipped}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("words", nargs="*")
    parser.add_argument("-v", "--verbose", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--folder", type=pathlib.Path, default=HERE)
    args = parser.parse_args()
    folder = args.folder.resolve()
    sys.path.insert(1, str(folder))
    files = discover(folder, args.words)
    if args.list:
        for path, _, tests in files:
            print(*[short(t) for t in tests], sep="\n")
        return 0
    missing = [n for n in ("broadcaster", "reader") if not (BIN / n).exists()]
    if missing:
        print(f"run: not built: {', '.join(missing)} in {BIN}", file=sys.stderr)
        return 2
    began = time.monotonic()
    result = Result(args.verbose)
    for path, module, tests in files:
        print(f"{path.stem}: {(module.__doc__ or '').splitlines()[0]}",
              flush=True)
        unittest.TestSuite(tests).run(result)
    if args.verbose:
        for took, name in sorted(result.slowest, reverse=True)[:10]:
            print(f"  {took:6.1f} s  {name}")
    print(f"{folder.name}: took {time.monotonic() - began:.0f} s")
    line = closing_line(folder.name, result)
    print(line)
    if os.environ.get("COUNTS"):
        pathlib.Path(os.environ["COUNTS"]).write_text(line + "\n")
    return 0 if result.wasSuccessful() and result.n_passed else 1


if __name__ == "__main__":
    sys.exit(main())
