#!/usr/bin/env python3
"""Runs the benchmarks: one table, and the same as JSON.

Every round runs a figure and the limit that it is compared with one after the other; a figure is the
median over its rounds, its ratio the median of the rounds' ratios. Each round also classes the machine
by the time of a fresh cache line (limit.line.ns): hosts change between two speeds, and like must be
compared with like.
"""
import argparse
import json
import os
import pathlib
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from figures import FIGURES, GROUPS, LINE, NOT_YET, SYSCALLS, Program

HERE = pathlib.Path(__file__).resolve().parent
FAST_LINE_NS = 400  # between the two speeds that were seen, 210 and 620


class Runner:
    def __init__(self, build, python):
        self.names = {"build": str(build), "python": python, "bench": str(HERE)}
        self.env = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1",
                        OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", SHEAF_BIN=f"{build}/cli/sheaf")
        self.env.pop("SHEAF_ADDRESS", None)

    def start(self, command, timeout):
        """Returns (stdout, "") or (None, reason)."""
        words = [word.format(**self.names) for word in command]
        try:
            process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                       stdin=subprocess.DEVNULL, text=True, env=self.env,
                                       process_group=0)
        except OSError as error:
            return None, f"{words[0]}: {error.strerror}"
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException as stopped:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            if isinstance(stopped, subprocess.TimeoutExpired):
                return None, f"no result within {timeout} s"
            raise
        if process.returncode != 0:
            lines = [line for line in err.splitlines() if line.strip(" -")] or [""]
            return None, f"ended with {process.returncode}: {lines[-1][:200]}"
        return out, ""

    def take(self, program: Program):
        """One round: {key: {"p50": .., "p99": ..}} or {key: {"null": reason}}."""
        begin = time.monotonic()
        out, reason = self.start(program.command, program.timeout)
        seconds = time.monotonic() - begin
        if out is not None:
            try:
                line = (program.read or (lambda text: json.loads(text.splitlines()[-1])))(out)
            except (ValueError, IndexError, AttributeError, KeyError):
                return {key: {"null": "printed no result"} for key in program.keys}
            for key in program.keys:
                if key == "ml.demo.s":
                    line.setdefault(key, {"p50": seconds})
            return line
        return {key: {"null": reason} for key in program.keys}

    def syscalls(self, key):
        """System calls of the calling thread per operation, from two runs of different length."""
        command, few, many = SYSCALLS[key]
        counts = []
        for count in (few, many):
            with tempfile.NamedTemporaryFile("r", suffix=".strace") as file:
                out, reason = self.start(["strace", "-c", "-o", file.name, *command, "--count",
                                          str(count)], 120)
                if out is None:
                    return None, reason
                total = re.search(r"(\d+)(?:\s+\d+)?\s+total\s*$", file.read())
                counts.append(int(total.group(1)))
        return (counts[1] - counts[0]) / (many - few), ""


class Results:
    """All rounds of all keys."""

    def __init__(self):
        self.rounds, self.reasons, self.lines = {}, {}, {}

    def add(self, line, round_line_ns, number):
        for key, value in line.items():
            if "null" in value:
                self.reasons[key] = value["null"]
            else:
                self.rounds.setdefault(key, {})[number] = value
                self.lines.setdefault(key, {})[number] = round_line_ns

    def p50(self, key):
        taken = self.rounds.get(key)
        return statistics.median(one["p50"] for one in taken.values()) if taken else None

    def p99(self, key):
        tails = [one["p99"] for one in self.rounds[key].values() if "p99" in one]
        if tails:
            return statistics.median(tails)
        # One sample a round: the bad end of the rounds themselves.
        values = [one["p50"] for one in self.rounds[key].values()]
        return min(values) if key.endswith(("_s", ".gbps", "accuracy")) else max(values)

    def ratio(self, key, limit):
        if limit not in self.rounds or key not in self.rounds:
            return None
        both = self.rounds[key].keys() & self.rounds[limit].keys()
        pairs = [self.rounds[key][n]["p50"] / self.rounds[limit][n]["p50"] for n in both]
        if not pairs:  # taken in different groups
            return self.p50(key) / self.p50(limit)
        return statistics.median(pairs)

    def summary(self, key, limit=""):
        if key not in self.rounds:
            return {"p50": None, "reason": self.reasons.get(key, "not taken")}
        values = [one["p50"] for one in self.rounds[key].values()]
        middle = statistics.median(values)
        entry = {"p50": middle, "p99": self.p99(key), "rounds": values,
                 "spread": (max(values) - min(values)) / middle if middle else 0.0}
        classes = {"fast": [], "slow": []}
        for number, one in self.rounds[key].items():
            line_ns = self.lines[key][number]
            if line_ns is not None:
                classes["fast" if line_ns < FAST_LINE_NS else "slow"].append(one["p50"])
        entry["by_line"] = {name: statistics.median(some) for name, some in classes.items() if some}
        if limit:
            entry["limit"] = limit
            entry["ratio"] = self.ratio(key, limit)
        return entry


def judge(figure, entry, results):
    """Returns (text of what must hold, verdict)."""
    texts = [need.text() for need in figure.needs
             if not need.peer or results.p50(need.versus) is not None]
    if entry["p50"] is None:
        return ", ".join(texts), "not taken"
    worst = 1.0
    unknown = False
    for need in figure.needs:
        if need.versus:
            value = results.ratio(figure.key, need.versus)
            if value is None and need.peer:
                continue
        else:
            value = entry.get(need.what)
        if value is None:
            unknown = True
        elif need.sign == "<=" and value > need.bound:
            worst = max(worst, value / need.bound if need.bound else float("inf"))
        elif need.sign == ">=" and value < need.bound:
            worst = max(worst, need.bound / value if value else float("inf"))
    if worst > 1:
        return ", ".join(texts), f"misses {worst:.2g}x" if worst < 1e6 else "misses"
    return ", ".join(texts), "unknown" if unknown else "holds"


def wanted_keys(only):
    """Keys that must be measured: figures that match, with what they are compared with."""
    keys = set()
    for figure in FIGURES:
        if only.search(figure.key):
            keys |= {figure.key, figure.limit, *figure.beside}
            keys |= {need.versus for need in figure.needs if need.versus}
    for group in GROUPS:
        keys |= {key for program in group.programs for key in program.keys if only.search(key)}
    return keys - {""}


def measure(runner, keys, peers, rounds, results):
    line_program = Program(["{build}/bench/limit_ping", "line"], [LINE])
    number = 0
    for group in GROUPS:
        programs = [program for program in group.programs
                    if set(program.keys) & keys and (peers or not program.peer)]
        if not programs:
            continue
        count = min(group.rounds, rounds) if rounds else group.rounds
        begin = time.monotonic()
        for one in range(count):
            number += 1
            if sys.stderr.isatty():
                print(f"\r\033[K{group.name} {one + 1}/{count}", end="", file=sys.stderr, flush=True)
            line = runner.take(line_program)
            line_ns = line[LINE].get("p50")
            results.add(line, line_ns, number)
            for program in programs:
                if one < program.rounds:
                    results.add(runner.take(program), line_ns, number)
        if not sys.stderr.isatty():
            print(f"{group.name}: {count} rounds, {time.monotonic() - begin:.1f} s", file=sys.stderr)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)


def machine():
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo")
                  if line.startswith("model name")), platform.machine())
    memory = next(int(line.split()[1]) for line in open("/proc/meminfo"))
    return {"cpu": model, "cpus": os.cpu_count(), "memory_gib": round(memory / 2**20, 1),
            "kernel": platform.release(), "load_at_start": os.getloadavg()[0]}


def build_of(folder):
    cache = {}
    path = pathlib.Path(folder) / "CMakeCache.txt"
    if path.exists():
        for line in path.read_text().splitlines():
            match = re.match(r"(CMAKE_CXX_FLAGS|CMAKE_CXX_COMPILER|SHEAF_\w+):\w+=(.*)", line)
            if match:
                cache[match.group(1)] = match.group(2)
    commit = subprocess.run(["git", "-C", str(HERE), "rev-parse", "--short", "HEAD"],
                            capture_output=True, text=True).stdout.strip()
    return {"commit": commit, "flags": cache.get("CMAKE_CXX_FLAGS", ""),
            "compiler": cache.get("CMAKE_CXX_COMPILER", ""),
            "native": cache.get("SHEAF_NATIVE", "OFF")}


def number(value):
    if value is None:
        return "-"
    if abs(value) >= 1e6:
        return f"{value / 1e6:.2f} M"
    if abs(value) >= 1e4:
        return f"{value / 1e3:.1f} k"
    return f"{value:.4g}"


def print_table(report):
    rows = [["figure", "p50", "p99", "spread", "ratio", "compared with", "must hold", "verdict"]]
    for key, entry in report["figures"].items():
        if entry["p50"] is None:
            rows.append([key, "-", "-", "-", "-", "", entry.get("hold", ""), entry["reason"][:60]])
            continue
        limit = entry.get("limit", "")
        if limit and report["figures"].get(limit, {}).get("p50") is not None:
            limit += f" {number(report['figures'][limit]['p50'])}"
        calls = f", {entry['syscalls']:.3g} syscalls" if entry.get("syscalls") is not None else ""
        rows.append([key, number(entry["p50"]) + calls, number(entry["p99"]),
                     f"{entry['spread']:.0%}", number(entry.get("ratio")), limit,
                     entry.get("hold", ""), entry.get("verdict", "")])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def main():
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__.splitlines()[0])
    parser.add_argument("--build", default=str(HERE.parent / "build" / "release"),
                        help="the build folder (default: build/release)")
    parser.add_argument("--only", default="", metavar="REGEX", help="figures whose key matches")
    parser.add_argument("--peers", action="store_true",
                        help="also run the same work on multiprocessing.Pool and Ray")
    parser.add_argument("--python", default="", help="Python that has the peers installed")
    parser.add_argument("--json", metavar="FILE", help="write the results there too")
    parser.add_argument("--rounds", type=int, default=0, help="at most so many rounds of each")
    options = parser.parse_args()

    python = options.python or sys.executable
    installed = HERE.parent / "build" / "peers" / "bin" / "python3"
    if options.peers and not options.python:
        if not installed.exists():
            print("installing the Python peers into build/peers ...", file=sys.stderr)
            done = subprocess.run([str(HERE / "peers" / "install.sh")], stdout=subprocess.DEVNULL)
            if done.returncode != 0:
                print("the peers could not be installed; Ray is left out", file=sys.stderr)
        if installed.exists():
            python = str(installed)

    only = re.compile(options.only)
    runner, results = Runner(pathlib.Path(options.build).resolve(), python), Results()
    report = {"machine": machine(), "build": build_of(options.build), "figures": {}}
    if report["machine"]["load_at_start"] > 0.5:
        print(f"note: the machine is busy (load {report['machine']['load_at_start']:.1f}); only "
              "ratios mean something", file=sys.stderr)
    keys = wanted_keys(only)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        measure(runner, keys, options.peers, options.rounds, results)
    except KeyboardInterrupt:
        print("\nstopped early: what was taken so far", file=sys.stderr)

    for figure in FIGURES:
        if not only.search(figure.key):
            continue
        entry = results.summary(figure.key, figure.limit)
        if figure.key in SYSCALLS and entry["p50"] is not None:
            entry["syscalls"], reason = runner.syscalls(figure.key)
            if entry["syscalls"] is None:
                entry["syscalls_reason"] = reason
            else:  # what does not grow with the operations is not theirs
                entry["syscalls"] = max(0.0, round(entry["syscalls"], 3))
        entry["hold"], entry["verdict"] = judge(figure, entry, results)
        report["figures"][figure.key] = entry
    for key in sorted((results.rounds.keys() | results.reasons.keys()) - report["figures"].keys()):
        report["figures"][key] = results.summary(key)
    print_table(report)
    for key, reason in NOT_YET.items():
        if only.search(key):
            report["figures"][key] = {"p50": None, "reason": reason}
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(report, indent=1) + "\n")
    missed = [key for key, entry in report["figures"].items()
              if str(entry.get("verdict", "")).startswith("misses")]
    print(f"\n{sum(1 for entry in report['figures'].values() if entry.get('verdict') == 'holds')} "
          f"figures hold, {len(missed)} miss" + (f": {', '.join(missed)}" if missed else ""))


if __name__ == "__main__":
    main()
