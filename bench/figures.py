"""The figures: which program takes each, what it is compared with, and what must hold.

A Group is a list of programs that run one after the other in every round, figure and limit in turn.
A Figure is one key of the table; `needs` are its conditions (see Need). Keys are stable: add, don't
rename. What cannot be taken yet stands in NOT_YET with the reason.
"""
import dataclasses
import json
import re


@dataclasses.dataclass
class Program:
    command: list            # {build}, {python} and {bench} are filled in
    keys: list               # what its line holds
    peer: bool = False       # runs with --peers only
    read: object = None      # text of stdout -> line, where it is not JSON of ours
    rounds: int = 99         # at most so many rounds
    timeout: int = 120


@dataclasses.dataclass
class Need:
    """`what` (p50, p99, ratio, syscalls) or, with `versus`, p50 over the p50 of that key."""
    what: str
    sign: str                # "<=" or ">="
    bound: float
    versus: str = ""
    peer: bool = False       # only judged where the peer was measured

    def text(self):
        left = f"x {self.versus}" if self.versus else {"ratio": "x limit", "p50": "",
                                                       "p99": "at p99",
                                                       "syscalls": "syscalls"}[self.what]
        return f"{self.sign} {self.bound:g} {left}".strip()


@dataclasses.dataclass
class Figure:
    key: str
    limit: str = ""
    needs: list = dataclasses.field(default_factory=list)
    beside: list = dataclasses.field(default_factory=list)  # shown with it, not judged


@dataclasses.dataclass
class Group:
    name: str
    programs: list
    rounds: int = 5


def _ping(mode, key):
    return Program(["{build}/bench/limit_ping", mode], [key])


def _mpi(program, keys, *flags):
    return Program(["mpirun", "-n", "2", "{build}/bench/peer_" + program, *flags], keys)


_HOLLOW = ("messages_s", "bytes_s", "cpu", "us_per_message", "us_per_lease", "bytes_per_pool")


def _bench(program, keys, *flags, **more):
    return Program(["{build}/bench/bench_" + program, *flags], keys, **more)


def _python(script, keys, *flags, **more):
    return Program(["{python}", "{bench}/peers/" + script, *flags], keys, peer=True, **more)


def _bare(model):
    def read(text):
        return {f"limit.dp_bare_{model}.samples_s": {"p50": json.loads(text)["samples_s"]}}
    return Program(["{build}/bench/limit_dp_bare", "--model", model, "--epochs",
                    "5" if model == "s" else "1"], [f"limit.dp_bare_{model}.samples_s"], read=read)


def _read_demo(text):
    accuracy = re.search(r"test accuracy: ([0-9.]+)\s*$", text)
    return {"ml.demo.accuracy": {"p50": float(accuracy.group(1))}}


LINE = "limit.line.ns"
GROUPS = [
    Group("sync", [
        _ping("spin", "limit.spin.us"),
        _ping("futex", "limit.futex.us"),
        _mpi("mpi_pingpong", ["mpi.sync.us"]),
        _bench("task", ["task.sync.us"], "sync"),
        _python("pool.py", ["pool.task.sync.us"], "sync"),
    ]),
    Group("asleep", [
        _ping("futex_asleep", "limit.futex_asleep.us"),
        _bench("task", ["task.sync_asleep.us"], "asleep"),
    ]),
    Group("rate", [
        Program(["{build}/bench/limit_ring"], ["limit.ring.msgs_s"]),
        _mpi("mpi_master_worker", ["mpi.rate_1x1"]),
        _bench("task", ["task.rate_1x1"], "rate"),
        _bench("task", ["task.rate_ref"], "ref"),
        _bench("task", ["task.rate_nested"], "nested"),
        _python("pool.py", ["pool.task.rate_1x1"], "rate", rounds=5),
    ]),
    Group("ray", [
        _python("ray_bench.py", ["ray.task.sync.us", "ray.task.rate_1x1", "ray.ml.round_100m.ms"],
                "sync", "rate", "round", rounds=3, timeout=300),
    ], rounds=3),
    Group("metg", [
        program for width in ("2", "16") for program in (
            _mpi("mpi_stencil", [f"mpi.metg_stencil_w{width}.us", f"mpi.empty_w{width}.us"],
                 "--width", width),
            _bench("stencil", [f"task.metg_stencil_w{width}.us", f"task.empty_w{width}.us"],
                   "--width", width))
    ]),
    Group("shapes", [
        _bench("shapes", ["task.nested_depth.us"], "depth"),
        _bench("shapes", ["task.wait_10k.ms"], "complete"),
        _bench("shapes", ["task.big_arg.us"], "big"),
        _bench("shapes", ["task.queued_1m.bytes", "task.queued_1m.s"], "queued"),
    ]),
    Group("store", [
        _bench("store", ["store.get.ns"], "get"),
        _bench("store", ["store.put_1k.ns"], "put_1k"),
        _bench("store", ["store.visible.us"], "visible"),
    ]),
    Group("put", [
        Program(["{build}/bench/limit_memory", "memcpy"], ["limit.memcpy.gbps"]),
        _bench("store", ["store.put_64m.gbps"], "put_64m"),
        _bench("store", ["store.put_1g.gbps"], "put_1g"),
    ]),
    Group("weights", [
        Program(["{build}/bench/limit_memory", "map_touch", "--rounds", "3"],
                ["limit.map_touch.ms_per_gib"]),
        _bench("weights", ["store.weights.pss"]),
    ]),
    Group("life", [
        _bench("life", ["init.ms", "worker.start.ms", "worker.threads", "worker.rss_kb"], "first"),
    ], rounds=15),
    Group("fault", [
        _bench("life", ["fault.detect.ms", "fault.rerun.ms"], "killed"),
    ]),
    Group("round_100m", [
        Program(["{build}/bench/limit_memory", "memcpy100"], ["limit.memcpy_100m.ms"]),
        _bench("learn", ["ml.round_100m.ms"], "round"),
        _python("pool.py", ["pool.ml.round_100m.ms"], "round", rounds=3),
    ]),
    Group("train_s", [
        _bare("s"),
        _bench("learn", ["ml.train_s.samples_s"], "train"),
        _bench("learn", ["ml.train_s_1.samples_s"], "train", "--workers", "1"),
        _bench("learn", ["ml.train_tasks_s.samples_s"], "tasks"),
    ]),
    Group("train_m", [
        _bare("m"),
        _bench("learn", ["ml.train_m.samples_s"], "train", "--model", "m"),
        _bench("learn", ["ml.train_m_1.samples_s"], "train", "--model", "m", "--workers", "1"),
    ]),
    Group("net_sync", [
        Program(["{build}/bench/limit_tcp", "ping"], ["limit.tcp.us"]),
        _bench("net", ["net.task.sync.us"], "sync"),
    ]),
    Group("net_rate", [_bench("net", ["net.task.rate"], "rate")]),
    Group("net_transfer", [
        Program(["{build}/bench/limit_tcp", "stream"], ["limit.tcp.gbps", "limit.tcp.cpu_s"]),
        Program(["{build}/bench/limit_tcp", "tls"], ["limit.tls.gbps", "limit.tls.cpu_s"]),
        _bench("net", [f"net.transfer_1g.{part}" for part in ("gbps", "send_cpu_s", "receive_cpu_s")], "transfer"),
        _bench("net", [f"net.transfer_1g.tls.{part}" for part in ("gbps", "send_cpu_s", "receive_cpu_s")],
               "transfer_tls"),
    ]),
    Group("net_broadcast", [
        _bench("net", [f"net.broadcast_256m.{pools}.s"], "broadcast", "--count", pools)
        for pools in ("2", "4", "8")
    ], rounds=3),
    Group("net_reduce", [_bench("net", ["net.reduce_8x64m.s"], "reduce")], rounds=3),
    Group("net_lease", [_bench("net", ["net.lease.us", "net.lease.first.us"], "lease")], rounds=3),
    Group("fault_cluster", [
        _bench("faults", ["fault.pool.s"], "pool"),
        _bench("faults", ["fault.scheduler.ms"], "scheduler"),
    ], rounds=3),
    Group("sched", [_bench("sched", ["sched.rate", "sched.bytes_per_pool"])]),
    Group("hollow", [_bench("hollow", [f"sched.hollow.{pools}.{what}" for pools in (250, 500, 1000, 2000) for what in _HOLLOW])],
          rounds=3),
    Group("demo", [
        Program(["{build}/examples/sheaf_demo"], ["ml.demo.accuracy", "ml.demo.s"],
                read=_read_demo, timeout=180),
    ], rounds=1),
]

FIGURES = [
    Figure("store.get.ns", needs=[Need("p50", "<=", 50), Need("syscalls", "<=", 0)]),
    Figure("store.put_1k.ns", needs=[Need("p50", "<=", 1000), Need("syscalls", "<=", 0)]),
    Figure("store.put_64m.gbps", "limit.memcpy.gbps", [Need("ratio", ">=", 0.9)],
           beside=["net.transfer_1g.send_cpu_s", "net.transfer_1g.receive_cpu_s", "limit.tcp.cpu_s"]),
    Figure("store.put_1g.gbps", "limit.memcpy.gbps", [Need("ratio", ">=", 0.9)]),
    Figure("store.visible.us", needs=[Need("p50", "<=", 2)]),
    Figure("store.weights.pss", needs=[Need("p50", "<=", 1.02)]),
    Figure("task.sync.us", "limit.spin.us", [Need("p50", "<=", 2), Need("ratio", "<=", 20)],
           ["mpi.sync.us", "pool.task.sync.us", "ray.task.sync.us"]),
    Figure("task.sync_asleep.us", "limit.futex_asleep.us", [Need("ratio", "<=", 2)],
           ["limit.futex.us"]),
    Figure("task.rate_1x1", "mpi.rate_1x1", [Need("p50", ">=", 1e6)],
           ["limit.ring.msgs_s", "pool.task.rate_1x1", "ray.task.rate_1x1"]),
    Figure("task.rate_nested", needs=[Need("p50", ">=", 5e5)]),
    Figure("task.rate_ref", needs=[Need("p50", ">=", 5e5)]),
    Figure("task.metg_stencil_w2.us", "mpi.metg_stencil_w2.us", [Need("ratio", "<=", 2)],
           ["task.empty_w2.us", "mpi.empty_w2.us"]),
    Figure("task.metg_stencil_w16.us", "mpi.metg_stencil_w16.us", [Need("ratio", "<=", 3)],
           ["task.empty_w16.us", "mpi.empty_w16.us"]),
    Figure("task.nested_depth.us", needs=[Need("p50", "<=", 1000)]),
    Figure("task.wait_10k.ms", needs=[Need("p50", "<=", 20)]),
    Figure("task.big_arg.us", beside=["task.sync.us"]),
    Figure("task.queued_1m.bytes", needs=[Need("p50", "<=", 256)]),
    Figure("task.queued_1m.s", needs=[Need("p50", "<=", 2)]),
    Figure("worker.start.ms", needs=[Need("p50", "<=", 5)]),
    Figure("worker.threads", needs=[Need("p50", "<=", 3)]),
    Figure("worker.rss_kb", needs=[Need("p50", "<=", 4096)]),
    Figure("init.ms", needs=[Need("p50", "<=", 100)]),
    Figure("fault.detect.ms", needs=[Need("p99", "<=", 50)]),
    Figure("fault.rerun.ms", needs=[Need("p99", "<=", 250)]),
    Figure("ml.round_100m.ms", "limit.memcpy_100m.ms",
           [Need("ratio", "<=", 6),
            Need("p50", "<=", 1 / 20, versus="pool.ml.round_100m.ms", peer=True),
            Need("p50", "<=", 1 / 2, versus="ray.ml.round_100m.ms", peer=True)]),
    Figure("ml.train_s.samples_s", "limit.dp_bare_s.samples_s",
           [Need("ratio", ">=", 0.75), Need("p50", ">=", 1.0, versus="ml.train_s_1.samples_s")]),
    Figure("ml.train_m.samples_s", "limit.dp_bare_m.samples_s", [Need("ratio", ">=", 0.85)],
           ["ml.train_m_1.samples_s"]),
    Figure("ml.train_tasks_s.samples_s", "limit.dp_bare_s.samples_s", [Need("ratio", ">=", 0.5)]),
    Figure("net.task.sync.us", "limit.tcp.us", [Need("ratio", "<=", 3)]),
    Figure("net.task.rate", needs=[Need("p50", ">=", 3e5)]),
    Figure("net.transfer_1g.gbps", "limit.tcp.gbps", [Need("ratio", ">=", 0.9)]),
    Figure("net.transfer_1g.tls.gbps", "limit.tls.gbps", [Need("ratio", ">=", 0.85)],
           beside=["net.transfer_1g.tls.send_cpu_s", "net.transfer_1g.tls.receive_cpu_s", "limit.tls.cpu_s"]),
    Figure("net.broadcast_256m.8.s",
           needs=[Need("p50", "<=", 1.5, versus="net.broadcast_256m.2.s")],
           beside=["net.broadcast_256m.2.s", "net.broadcast_256m.4.s"]),
    Figure("net.reduce_8x64m.s"),
    Figure("net.lease.us", needs=[Need("p50", "<=", 1000)], beside=["net.lease.first.us"]),
    Figure("fault.pool.s", needs=[Need("p99", "<=", 2.5)]),
    Figure("fault.scheduler.ms", needs=[Need("p50", "<=", 1000)]),
    Figure("sched.hollow.2000.us_per_lease",
           needs=[Need("p50", "<=", 1.25, versus="sched.hollow.250.us_per_lease")],
           beside=["sched.hollow.250.us_per_lease", "sched.hollow.2000.messages_s", "sched.hollow.2000.bytes_s",
                   "sched.hollow.2000.cpu", "sched.hollow.2000.bytes_per_pool"]),
    Figure("sched.rate", needs=[Need("p50", ">=", 1e5)]),
    Figure("sched.bytes_per_pool", needs=[Need("p50", "<=", 4096)]),
    Figure("ml.demo.accuracy", needs=[Need("p50", ">=", 0.87)]),
    Figure("ml.demo.s", needs=[Need("p50", "<=", 15)]),
]

# Operations whose system calls are counted: figure -> (command, two counts).
SYSCALLS = {
    "store.get.ns": (["{build}/bench/bench_store", "get"], 20_000, 120_000),
    "store.put_1k.ns": (["{build}/bench/bench_store", "put_1k"], 20_000, 120_000),
}

_LATER = "its program is not written yet"
NOT_YET = {
    "store.weights.touch": _LATER, "store.reclaim.ms": _LATER, "store.idle.cpu": _LATER,
    "store.spill.gbps": "no spill yet", "store.restore.gbps": "no spill yet",
    "task.rate_nxn": _LATER,
    "task.idle_mix.ms": _LATER, "actor.sync.us": "no actors yet", "actor.rate_1x1": "no actors yet",
    "actor.rate_nxn": "no actors yet", "pg.rate": "no placement groups yet",
    "ml.allreduce_1k.us": "no collectives yet", "ml.allreduce_64k.us": "no collectives yet",
    "ml.allreduce_1m.us": "no collectives yet", "ml.allreduce_100m.us": "no collectives yet",
    "ml.aggregate_8x100m": _LATER, "ml.pipeline_bubble": _LATER, "ml.predict": _LATER,
    "ml.checkpoint_stall.ms": "no asynchronous checkpoints yet",
}
