"""The same work on CPython's multiprocessing.Pool with two workers.

-> pool.task.sync.us, pool.task.rate_1x1 (tasks/s, chunks of one), pool.ml.round_100m.ms.
Usage: pool.py sync|rate|round
"""
import json
import multiprocessing
import os
import statistics
import sys
import time


def noop(_):
    return os.getpid()


def scale(weights):
    return weights * 0.5


def sync(pool):
    times = []
    for _ in range(500):
        begin = time.perf_counter_ns()
        pid = pool.apply(noop, (b"x" * 32,))
        times.append((time.perf_counter_ns() - begin) / 1e3)
        assert pid != os.getpid()
    times.sort()
    return {"pool.task.sync.us": {"p50": statistics.median(times),
                                  "p99": times[int(0.99 * len(times))], "n": len(times)}}


def rate(pool):
    count = 10_000
    begin = time.perf_counter()
    results = [pool.apply_async(noop, (b"x" * 32,)) for _ in range(count)]
    pids = {result.get() for result in results}
    seconds = time.perf_counter() - begin
    assert os.getpid() not in pids
    return {"pool.task.rate_1x1": {"p50": count / seconds, "n": 1}}


def round_100m(pool):
    import numpy
    weights = numpy.ones(25_000_000, dtype=numpy.float32)
    times = []
    for _ in range(2):
        begin = time.perf_counter()
        updated = pool.map(scale, [weights, weights], chunksize=1)
        mean = (updated[0] + updated[1]) / 2
        times.append((time.perf_counter() - begin) * 1e3)
        assert mean[0] == 0.5
    return {"pool.ml.round_100m.ms": {"p50": min(times), "n": len(times)}}


if __name__ == "__main__":
    work = {"sync": sync, "rate": rate, "round": round_100m}[sys.argv[1]]
    with multiprocessing.Pool(1 if sys.argv[1] == "rate" else 2) as workers:
        workers.map(noop, range(16))
        print(json.dumps(work(workers)))
