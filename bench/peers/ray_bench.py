"""The same work on Ray, on a local cluster of two CPUs that lasts as long as this process.

-> ray.task.sync.us, ray.task.rate_1x1 (tasks/s), ray.ml.round_100m.ms.
Usage: ray_bench.py WORK..., of sync, rate and round
"""
import json
import logging
import os
import statistics
import sys
import time

import numpy
import ray


@ray.remote(num_cpus=1)
def noop(_):
    return os.getpid()


@ray.remote(num_cpus=1)
def scale(weights):
    return weights * numpy.float32(0.5)


@ray.remote(num_cpus=1)
def mean(a, b):
    return (a + b) / numpy.float32(2)


def sync():
    times = []
    for _ in range(300):
        begin = time.perf_counter_ns()
        pid = ray.get(noop.remote(b"x" * 32))
        times.append((time.perf_counter_ns() - begin) / 1e3)
        assert pid != os.getpid()
    times.sort()
    return {"ray.task.sync.us": {"p50": statistics.median(times),
                                 "p99": times[int(0.99 * len(times))], "n": len(times)}}


def rate():
    count = 3_000
    begin = time.perf_counter()
    pids = ray.get([noop.remote(b"x" * 32) for _ in range(count)])
    seconds = time.perf_counter() - begin
    assert os.getpid() not in pids
    return {"ray.task.rate_1x1": {"p50": count / seconds, "n": 1}}


def round_100m():
    weights = numpy.ones(25_000_000, dtype=numpy.float32)
    times = []
    for _ in range(4):
        begin = time.perf_counter()
        ref = ray.put(weights)
        result = mean.remote(scale.remote(ref), scale.remote(ref))
        ray.wait([result], fetch_local=True)
        times.append((time.perf_counter() - begin) * 1e3)
        assert ray.get(result)[0] == 0.5
        del ref, result
    return {"ray.ml.round_100m.ms": {"p50": statistics.median(times[1:]), "n": len(times) - 1}}


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False,
             logging_level=logging.ERROR, object_store_memory=2_000_000_000)
    ray.get([noop.remote(b"") for _ in range(64)])
    line = {}
    for name in sys.argv[1:]:
        line.update({"sync": sync, "rate": rate, "round": round_100m}[name]())
    print(json.dumps(line))
