#!/usr/bin/env python3
"""lint.py - the rules of this repository that a compiler does not check

    scripts/lint.py [--root DIR]

Prints "file:line: what is wrong" for each fault; exit status 1 if there is one.
A rule may be broken where a comment says why: put "lint: allow RULE, because
..." on the offending line or the line before it. RULE is the word in brackets
at the end of a message.
"""
import argparse
import pathlib
import re
import subprocess
import shutil
import sys

MAX_FUNCTION_LINES = 70
MAX_FILE_LINES = 900
MAX_COLUMNS = 100       # 80 is what .clang-format makes; this is the hard stop

# Which folders' headers a folder may include.
MAY_INCLUDE = {
    "common": {"common"},
    "broadcaster": {"broadcaster", "common"},
    "reader": {"reader", "common"},
    "cmd/broadcaster": {"broadcaster", "common"},
    "cmd/reader": {"reader", "common"},
    "bench": {"bench", "common"},
}

# Libraries that only some files may know.
LIBRARY_OWNERS = {
    r"event2/|event\.h|evutil\.h": r"common/(loop|http_server|http_client)",
    r"curl/": r"common/(http_client|http_call)",
    r"openssl/": r"common/",
    r"expat\.h": r"reader/s3_xml",
    r"libpq-fe\.h": r"reader/(pg_|sink_postgres)",
    r"magic\.h": r"reader/sniff_helper",
}

# Files that are pure: no library, socket, clock or log; what they may include.
PURE = {
    "common": {"ring", "http1", "span", "err", "check", "config", "multipart",
               "address", "utf8", "base64", "metadata"},
    "broadcaster": {"lag", "policy", "targets", "media_order"},
}
PURE_SYSTEM = {
    "assert.h", "ctype.h", "errno.h", "inttypes.h", "limits.h", "math.h",
    "stdalign.h", "stdarg.h", "stdbool.h", "stddef.h", "stdint.h", "stdio.h",
    "stdlib.h", "stdnoreturn.h", "string.h", "strings.h",
}
# inet_pton() is arithmetic; a ring's memory begins on a page.
PURE_EXTRA = {"common/address": {"arpa/inet.h"},
              "common/ring": {"sys/mman.h", "unistd.h"}}

# Calls with a better successor: bounds, overflow or errors get lost in these.
BANNED = {
    "strcpy": "snprintf or memcpy", "strcat": "snprintf",
    "sprintf": "snprintf", "vsprintf": "vsnprintf", "gets": "fgets",
    "strtok": "span_*", "atoi": "http1_parse_u64", "atol": "http1_parse_u64",
    "alloca": "a fixed buffer",
}

C_GLOBS = ["cmd/*/*.c", "common/*.[ch]", "broadcaster/*.[ch]", "reader/*.[ch]",
           "tests/*/*.[ch]", "tests/unit/*/*.[ch]", "bench/*.[ch]"]
SCRIPT_GLOBS = ["scripts/*.sh", ".ci/run", "bench/*.sh", "tests/*/*.sh",
                "build/*/*.sh", "build/*/*/*.sh"]
PYTHON_GLOBS = ["scripts/*.py", "tests/*/*.py", "bench/*.py"]


class Source:
    """One file, as it is and with comments and strings blanked out."""

    def __init__(self, root, path):
        self.path = path.relative_to(root).as_posix()
        self.raw = path.read_bytes()
        self.text = self.raw.decode("utf-8", "replace")
        self.lines = self.text.split("\n")
        if self.lines and self.lines[-1] == "":
            self.lines.pop()
        self.code = blank(self.text).split("\n")
        self.folder, _, self.name = self.path.rpartition("/")
        self.stem = self.name.rsplit(".", 1)[0]

    def is_header(self):
        return self.name.endswith(".h")


def blank(text):
    """Comments and the insides of literals become spaces; lines stay."""
    token = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"'
                       r"|'(?:\\.|[^'\\\n])*'", re.S)

    def spaces(match):
        found = match.group(0)
        if found[0] in "\"'":
            return found[0] + " " * (len(found) - 2) + found[0]
        return re.sub(r"[^\n]", " ", found)
    return token.sub(spaces, text)


class Lint:
    def __init__(self, root):
        self.root = root
        self.faults = []

    def fault(self, source, number, rule, text):
        near = source.lines[max(0, number - 2):number]
        if any(f"lint: allow {rule}" in line for line in near):
            return
        self.faults.append(f"{source.path}:{number}: {text} [{rule}]")

    def files(self, globs):
        found = {p for g in globs for p in self.root.glob(g) if p.is_file()}
        return [Source(self.root, p) for p in sorted(found)]

    # ---- every file ---------------------------------------------------------

    def check_text(self, source):
        if source.raw and not source.raw.endswith(b"\n"):
            self.fault(source, len(source.lines), "newline",
                       "no newline at the end of the file")
        if b"\r" in source.raw:
            self.fault(source, 1, "newline", "carriage returns")
        for number, line in enumerate(source.lines, 1):
            if line != line.rstrip():
                self.fault(source, number, "blanks", "blanks at the end")
            if re.search(r"\b(TODO|FIXME|HACK)\b(?!.*#\d+)", line) and \
                    source.path != "scripts/lint.py":
                self.fault(source, number, "todo",
                           "unfinished work without an issue number")

    # ---- C --------------------------------------------------------------------

    def check_layout(self, source):
        if len(source.lines) > MAX_FILE_LINES:
            self.fault(source, len(source.lines), "file",
                       f"more than {MAX_FILE_LINES} lines")
        for number, line in enumerate(source.lines, 1):
            indent = re.match(r"[ \t]*", line).group(0)
            if " \t" in indent or re.match(r"\t* {8}", indent):
                self.fault(source, number, "indent",
                           "indentation mixes tabs and spaces")
            if len(line.expandtabs(8)) > MAX_COLUMNS:
                self.fault(source, number, "columns",
                           f"more than {MAX_COLUMNS} columns")

    def check_words(self, source):
        for number, line in enumerate(source.code, 1):
            if re.search(r"\btypedef\s+(struct|union|enum)\b", line):
                self.fault(source, number, "typedef",
                           "structs are not typedef'd")
            if "//" in line:
                self.fault(source, number, "comment", "comments are /* */")
            for word in re.findall(r"\b([a-z]+)\s*\(", line):
                if word in BANNED and not source.path.startswith("tests/"):
                    self.fault(source, number, "banned",
                               f"{word}(): use {BANNED[word]}")

    def includes(self, source):
        pattern = re.compile(r'\s*#\s*include\s+([<"])([^>"]+)[>"]')
        for number, line in enumerate(source.lines, 1):
            match = pattern.match(line)
            if match:
                yield number, match.group(1) == "<", match.group(2)

    def check_includes(self, source):
        first = True
        for number, is_system, name in self.includes(source):
            if is_system:
                self.check_library(source, number, name)
            else:
                self.check_direction(source, number, name)
            if first and self.has_own_header(source) and \
                    name != f"{source.folder}/{source.stem}.h":
                self.fault(source, number, "order",
                           f"its own header, {source.stem}.h, comes first")
            first = False
            self.check_pure(source, number, is_system, name)

    def has_own_header(self, source):
        header = self.root / source.folder / f"{source.stem}.h"
        return not source.is_header() and header.exists()

    def check_library(self, source, number, name):
        if source.path.startswith(("tests/", "bench/")):
            return
        for library, owners in LIBRARY_OWNERS.items():
            if re.match(library, name) and not re.match(owners, source.path):
                self.fault(source, number, "library",
                           f"<{name}> belongs to {owners} only")

    def check_direction(self, source, number, name):
        folder = name.rpartition("/")[0]
        allowed = MAY_INCLUDE.get(source.folder)
        if not folder and not source.path.startswith("tests/"):
            self.fault(source, number, "direction",
                       f'"{name}": paths are from the root')
        elif allowed is not None and folder not in allowed:
            self.fault(source, number, "direction",
                       f'{source.folder} must not include "{name}"')
        private = name.endswith(("_impl.h", "_priv.h"))
        if private and source.folder not in (folder, f"tests/unit/{folder}"):
            self.fault(source, number, "private",
                       f'"{name}" is private to {folder}/')

    def check_pure(self, source, number, is_system, name):
        if source.stem not in PURE.get(source.folder, ()):
            return
        key = f"{source.folder}/{source.stem}"
        if is_system:
            fine = name in PURE_SYSTEM | PURE_EXTRA.get(key, set())
        else:
            folder, _, header = name.rpartition("/")
            fine = header.rsplit(".", 1)[0] in PURE.get(folder, ())
        if not fine:
            self.fault(source, number, "pure",
                       f"{key} is pure: it must not include {name}")

    def check_functions(self, source):
        start = None
        for number, line in enumerate(source.code, 1):
            if line == "{":
                start = number
            elif line.startswith("}") and start:
                if number - start + 1 > MAX_FUNCTION_LINES:
                    self.fault(source, start, "function",
                               f"a function of {number - start + 1} lines; "
                               f"{MAX_FUNCTION_LINES} is the limit")
                start = None

    # ---- headers ----------------------------------------------------------------

    def check_header(self, source):
        if not source.text.startswith(f"/*\n * {source.name} - "):
            self.fault(source, 1, "purpose",
                       f'begins with "/*", " * {source.name} - purpose"')
        for number in undocumented(source):
            self.fault(source, number, "undocumented",
                       "a prototype without a comment above it")

    # ---- scripts -----------------------------------------------------------------

    def check_python(self, source):
        try:
            compile(source.text, source.path, "exec")
        except SyntaxError as error:
            self.fault(source, error.lineno or 1, "syntax", str(error.msg))
        for number, line in enumerate(source.lines, 1):
            if "\t" in re.match(r"\s*", line).group(0):
                self.fault(source, number, "indent", "tabs in Python")
            if len(line) > MAX_COLUMNS:
                self.fault(source, number, "columns",
                           f"more than {MAX_COLUMNS} columns")

    def shellcheck(self, sources):
        if not sources or not shutil.which("shellcheck"):
            return
        run = subprocess.run(
            ["shellcheck", "-f", "gcc", *[s.path for s in sources]],
            cwd=self.root, capture_output=True, text=True, check=False)
        self.faults += run.stdout.splitlines()

    def run(self):
        c_files = self.files(C_GLOBS)
        for source in c_files:
            self.check_text(source)
            self.check_layout(source)
            self.check_words(source)
            self.check_includes(source)
            self.check_functions(source)
            if source.is_header() and not source.path.startswith("tests/"):
                self.check_header(source)
        scripts = self.files(SCRIPT_GLOBS)
        pythons = self.files(PYTHON_GLOBS)
        for source in scripts + pythons + self.files(["*.md", "docs/**/*.md"]):
            self.check_text(source)
        for source in pythons:
            self.check_python(source)
        self.shellcheck(scripts)
        return len(c_files) + len(scripts) + len(pythons)


def undocumented(source):
    """Lines of prototypes that no comment stands above.

    Declarations that follow each other without a blank line may share one.
    """
    depth = 0
    documented = in_comment = in_directive = False
    statement, first = "", 0
    for number, line in enumerate(source.lines, 1):
        code = source.code[number - 1]
        if in_directive or code.lstrip().startswith("#"):
            in_directive = code.rstrip().endswith("\\")
            continue
        in_comment, opened = comment_state(line, code, in_comment)
        documented = documented or opened
        if not line.strip() and not in_comment and depth == 0:
            documented = False
        if depth == 0 and code.strip():
            first = first or number
            statement += " " + code.strip()
        depth += code.count("{") - code.count("}")
        if depth == 0 and re.search(r"[;}]\s*$", code) and statement:
            if is_prototype(statement) and not documented:
                yield first
            statement, first = "", 0


def comment_state(line, code, inside):
    """(does a comment go on after this line, was there one on it)."""
    had = inside or ("/*" in line and "/*" not in code)
    goes_on = had and line.rfind("/*") > line.rfind("*/") or \
        inside and "*/" not in line
    return goes_on, had


def is_prototype(statement):
    """A function is declared or defined inline here."""
    if re.match(r"\s*(_Static_assert|typedef)\b", statement):
        return False
    head = statement.split("{")[0]
    return bool(re.search(r"[A-Za-z_]\w*\s*\(", head)) and "=" not in head


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--root", type=pathlib.Path,
                        default=pathlib.Path(__file__).resolve().parent.parent)
    lint = Lint(parser.parse_args().root)
    n_files = lint.run()
    for fault in lint.faults:
        print(fault)
    print(f"lint: {n_files} files, {len(lint.faults)} faults")
    return 1 if lint.faults else 0


if __name__ == "__main__":
    sys.exit(main())
