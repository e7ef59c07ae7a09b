"""Builds each case of cases.cc alone and checks that the compiler refuses it in words a person can read.

usage: check.py CASES COMPILER [FLAG...]
"""
import concurrent.futures
import os
import re
import subprocess
import sys

CASE = re.compile(r"^#ifdef CASE_(\w+)\s+// says: (.*)$", re.MULTILINE)
LINES_MAX = 60  # of diagnostics; more is a wall that nobody reads


def build(source, compiler, flags, case=None):
    command = [compiler, "-std=c++20", "-fsyntax-only", *flags]
    if case:
        command.append(f"-DCASE_{case}")
    environment = dict(os.environ, LC_ALL="C")  # plain quotes
    return subprocess.run([*command, source], capture_output=True, text=True, env=environment, check=False)


def problem(source, compiler, flags, case, says):
    result = build(source, compiler, flags, case)
    if result.returncode == 0:
        return "it compiles"
    lines = result.stderr.splitlines()
    spoken = [line for line in lines if "error:" in line or "note:" in line]
    if not any(re.search(says, line) for line in spoken):
        return f"no line says /{says}/:\n" + "\n".join(lines[:LINES_MAX])
    if len(lines) > LINES_MAX:
        return f"it takes {len(lines)} lines to say so:\n" + "\n".join(spoken)
    return None


def main():
    source, compiler, flags = sys.argv[1], sys.argv[2], sys.argv[3:]
    with open(source, encoding="utf-8") as file:
        cases = CASE.findall(file.read())
    whole = build(source, compiler, [*flags, "-Wno-unused"])
    if whole.returncode != 0:
        print(f"without a case it must compile:\n{whole.stderr}")
        return 1
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        jobs = {case: pool.submit(problem, source, compiler, flags, case, says) for case, says in cases}
        for case, job in jobs.items():
            found = job.result()
            print(f"{'FAIL' if found else 'ok  '} {case}" + (f": {found}" if found else ""))
            failed += found is not None
    print(f"{len(cases) - failed} of {len(cases)} cases are refused as they should be")
    return 1 if failed or not cases else 0


sys.exit(main())
