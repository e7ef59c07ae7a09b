#!/usr/bin/env python3
"""The rules of the house that no compiler checks. Run by ctest; prints `file:line: what and why`, exits 1 if any.

    tests/tidy/tidy.py [--root DIR] [--headers CXX]      --headers also compiles every public header alone

Each rule is a function (path, text) -> [(line, complaint)], so that tidy_test.py can show it a file that breaks it.
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys

FLOORS = {"base": 0, "proto": 1, "scheduler": 2, "object_store": 2, "runtime": 3, "worker": 4, "ml": 5,
          "cli": 6, "examples": 6, "bench": 6, "tests": 6}
LINES_MAX = {"tests": 600, "bench": 600}
LINES_MAX_DEFAULT = 500
COLUMNS_MAX = 140  # clang-format breaks code at 120; this stops tables and comments that grew too wide

INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]')

# A core, table, policy or plan decides and never waits. The one that several threads read says so in its name here.
DECIDES = re.compile(r"_(core|table|policy|plan)\.(h|cc)$")
DECIDES_EXEMPT = {
    "object_store/peer_table.h": "maps segments for every thread of a process; remembers, decides nothing",
    "object_store/peer_table.cc": "as its header",
    "runtime/slot_table.h": "owned by the submitter's lock; hands out memory, decides nothing",
    "runtime/slot_table.cc": "as its header",
}
WAITS = re.compile(r"^(thread|mutex|shared_mutex|condition_variable|future|fstream|unistd\.h|fcntl\.h|poll\.h|"
                   r"sys/.*|base/(clock|futex|fd|packet_socket|address_file)\.h)$")

# gRPC stays between machines, and between a pool and its scheduler.
GRPC_FOLDERS = {"scheduler", "worker", "cli", "proto", "tests"}
GRPC_FILES = re.compile(r"(_service|_client|_main|_link|grpc_status|_test)\.(h|cc)$|^cli/")

STD_HEADER = re.compile(r"^[a-z_0-9]+$")
PUBLIC = re.compile(r"^(runtime|ml)/include/sheaf/")
VAGUE = re.compile(r"\b(?:class|struct)\s+(\w*(?:Manager|Utils?|Helper|Impl))\b(?!\s*;)")


def includes(text):
    for number, line in enumerate(text.splitlines(), 1):
        match = INCLUDE.match(line)
        if match:
            yield number, match.group(1), match.group(2)


def folder_of(path):
    return path.split("/", 1)[0]


def folder_included(name):
    """The folder whose header an include names, or None for a library's."""
    if name.startswith("sheaf/ml"):
        return "ml"
    if name.startswith("sheaf/"):
        return "runtime"
    head = name.split("/", 1)[0]
    return head if "/" in name and head in FLOORS else None


def floors(path, text):
    own = folder_of(path)
    if own not in FLOORS:
        return
    for line, _, name in includes(text):
        other = folder_included(name)
        if other is None or other == own:
            continue
        if FLOORS[own] < 6 and FLOORS[other] >= FLOORS[own]:
            yield line, f"{own}/ (floor {FLOORS[own]}) includes {name} of floor {FLOORS[other]}: includes point down only"
        elif own == "ml" and other != "base" and not name.startswith("sheaf/"):
            yield line, f"ml/ uses the public headers of the runtime only, not {name}"


def grpc_stays_out(path, text):
    for line, _, name in includes(text):
        if not re.match(r"grpc(pp)?/|google/protobuf/|proto/\w+\.(grpc\.)?pb\.h", name):
            continue
        if folder_of(path) not in GRPC_FOLDERS:
            yield line, f"{name}: nothing that a user's program links may reach gRPC or Protobuf"
        elif name.startswith("grpc") and not GRPC_FILES.search(path):
            yield line, f"{name}: gRPC belongs to *_service, *_client, *_link and *_main files"


def public_headers_stand_alone(path, text):
    if not PUBLIC.match(path):
        return
    for line, quote, name in includes(text):
        if quote == "<" and not STD_HEADER.match(name):
            yield line, f"<{name}>: public headers include the standard library and each other only"
        if quote == '"' and not name.startswith("sheaf/"):
            yield line, f'"{name}": public headers include the standard library and each other only'


def cores_do_not_wait(path, text):
    if not DECIDES.search(path) or path in DECIDES_EXEMPT or folder_of(path) in ("tests", "bench"):
        return
    for line, _, name in includes(text):
        if WAITS.match(name):
            yield line, f"{name}: a core is told the time and what happened; it never waits, locks or reads"
    for number, line in enumerate(text.splitlines(), 1):
        if re.search(r"_clock::now\(|\bNowNs?\(\)", line.split("//")[0]):
            yield number, "a core is told the time; it reads no clock"


def no_absl_locks(path, text):
    for line, _, name in includes(text):
        if name.startswith("absl/synchronization/"):
            yield line, f"{name}: std::mutex only (Debian's build of Abseil defeats ThreadSanitizer)"


def boost_stays_out(path, text):
    for line, _, name in includes(text):
        if name.startswith("boost/"):
            yield line, f"{name}: see docs/decisions/0004-plain-mmap.md"


def short_enough(path, text):
    lines = text.splitlines()
    limit = LINES_MAX.get(folder_of(path), LINES_MAX_DEFAULT)
    if len(lines) > limit:
        yield limit, f"{len(lines)} lines, limit {limit}: two ideas; find their names"
    for number, line in enumerate(lines, 1):
        if len(line) > COLUMNS_MAX and folder_of(path) != "tests":
            yield number, f"{len(line)} columns, limit {COLUMNS_MAX}"
        if line != line.rstrip():
            yield number, "white space at the end of the line"
        if "\t" in line:
            yield number, "tab"


def plain_names(path, text):
    for number, line in enumerate(text.splitlines(), 1):
        match = VAGUE.search(line.split("//")[0])
        if match:
            yield number, f"{match.group(1)} says nothing: name what it is"


def opens_with_a_comment(path, text):
    """A .cc may leave it to its header, which it then includes first."""
    stem = path.rsplit(".", 1)[0]
    own = re.match(r'\s*#include "([^"]+)\.h"', text)
    is_told_in_header = path.endswith(".cc") and own and stem.endswith(own.group(1).split("/")[-1])
    is_test = path.startswith("tests/") and path.endswith(".cc")
    if not text.startswith("//") and not is_told_in_header and not is_test:
        yield 1, "a file opens with what it is for, who runs it and what must hold"
    if path.endswith(".h") and not path.endswith("_body.h") and "#pragma once" not in text:
        yield 1, "no #pragma once"


INDEXED_CHOICE = re.compile(r"\([^()?]*\?[^()?]*:[^():]*\)\s*\[")


def no_index_into_a_choice(path, text):
    """g++ 12 with -fsanitize=bounds evaluates the index of `(c ? a : b)[i]` on one branch only (seen: 0 on the other)."""
    for number, line in enumerate(text.splitlines(), 1):
        if INDEXED_CHOICE.search(line.split("//")[0]):
            yield number, "indexes a choice of two arrays, which g++ 12 compiles wrongly under UBSan: choose a pointer first"


STABLE_SORT = re.compile(r"\bstable_(sort|partition)\b")


def no_stable_sort(path, text):
    """libstdc++ 12 takes its buffer from std::get_temporary_buffer, which C++20 deprecates: an error under clang."""
    for number, line in enumerate(text.splitlines(), 1):
        if STABLE_SORT.search(line.split("//")[0]):
            yield number, "clang refuses std::stable_sort of libstdc++ 12: sort with a key that decides between equals"


SOURCE_RULES = [no_stable_sort, no_index_into_a_choice, floors, grpc_stays_out, public_headers_stand_alone, cores_do_not_wait, no_absl_locks, boost_stays_out,
                short_enough, plain_names, opens_with_a_comment]


def check_source(path, text):
    return [(path, line, what) for rule in SOURCE_RULES for line, what in rule(path, text)]


def links_lead_somewhere(root, path, text):
    """Relative links of a Markdown file, and the files that it names in backticks."""
    found = []
    here = (root / path).parent
    for number, line in enumerate(text.splitlines(), 1):
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", line):
            if not re.match(r"[a-z]+:", target) and not (here / target).exists():
                found.append((path, number, f"link to {target}, which does not exist"))
        for target in re.findall(r"`([\w./-]+/[\w.-]+\.(?:h|cc|md|py|proto))`", line):
            places = (root / target, here / target, root / "runtime/include" / target, root / "ml/include" / target)
            if not any(place.exists() for place in places):
                found.append((path, number, f"names {target}, which does not exist"))
    return found


def quotes_the_example(readme, example):
    """The README's program is the example as it is built and run, without its opening comment."""
    quoted = re.search(r"```cpp\n(.*?)```", readme, re.S)
    program = re.sub(r"\A(//.*\n)+", "", example)
    if quoted and quoted.group(1).strip() == program.strip():
        return []
    return [("README.md", 1, "the program is not examples/hello_task.cc as it stands")]


def nothing_forgotten(path, text, lists):
    """A source file that no CMakeLists.txt of its folder or above names, and none elsewhere by its path, is never built."""
    name = pathlib.PurePosixPath(path)
    parts = name.parts
    for depth in range(len(parts) - 1, 0, -1):
        listing = lists.get("/".join(parts[:depth]))
        if listing is None:
            continue
        relative = "/".join(parts[depth:])
        if relative in listing or re.search(rf"\b{re.escape(name.stem)}\b", listing):
            return []
    if any("/".join(parts[-2:]) in listing for listing in lists.values()):
        return []
    return [(path, 1, "no CMakeLists.txt names this file: it is never built")]


def tracked(root):
    listing = subprocess.run(["git", "-C", str(root), "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True)
    if listing.returncode == 0:
        return [name for name in listing.stdout.splitlines() if (root / name).is_file()]
    return [str(p.relative_to(root)) for p in root.rglob("*")
            if p.is_file() and not {"build", ".git"} & set(p.relative_to(root).parts)]


def compile_alone(root, compiler, header):
    name = header.split("include/", 1)[1]
    run = subprocess.run(
        [compiler, "-std=c++20", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only", "-x", "c++",
         f"-I{root}/runtime/include", f"-I{root}/ml/include", "-"],
        input=f"#include <{name}>\n#include <{name}>\n", capture_output=True, text=True)
    if run.returncode == 0:
        return []
    return [(header, 1, "does not compile alone: " + run.stderr.strip().splitlines()[0])]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parents[2])
    parser.add_argument("--headers", metavar="CXX", help="compile every public header alone with this compiler")
    options = parser.parse_args()
    root = options.root.resolve()
    files = tracked(root)
    sources = [f for f in files if f.endswith((".h", ".cc")) and folder_of(f) in FLOORS]
    lists = {f.rsplit("/", 1)[0]: (root / f).read_text() for f in files if f.endswith("/CMakeLists.txt")}

    problems = []
    for path in sources:
        text = (root / path).read_text()
        problems += check_source(path, text)
        if path.endswith(".cc"):
            problems += nothing_forgotten(path, text, lists)
    for path in files:
        if path.endswith(".md"):
            problems += links_lead_somewhere(root, path, (root / path).read_text())
    problems += quotes_the_example((root / "README.md").read_text(), (root / "examples/hello_task.cc").read_text())
    headers = [f for f in sources if PUBLIC.match(f)] if options.headers else []
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for found in pool.map(lambda header: compile_alone(root, options.headers, header), headers):
            problems += found

    for path, line, what in sorted(problems):
        print(f"{path}:{line}: {what}")
    print(f"tidy: {len(sources)} source files, {len(headers)} headers alone, {len(problems)} complaints")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
