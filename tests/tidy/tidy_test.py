#!/usr/bin/env python3
"""Each rule of tidy.py is shown a file that breaks it, and one that does not."""
import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import tidy  # noqa: E402


def complaints(path, *lines):
    return [what for _, _, what in tidy.check_source(path, "\n".join(("// A room.", "#pragma once", *lines)))]


class Tidy(unittest.TestCase):
    def assert_refused(self, word, path, *lines):
        found = complaints(path, *lines)
        self.assertTrue(any(word in what for what in found), f"{path}: {found}")

    def assert_clean(self, path, *lines):
        self.assertEqual(complaints(path, *lines), [])

    def test_includes_point_down_only(self):
        self.assert_refused("down only", "base/id.h", '#include "proto/wire.h"')
        self.assert_refused("down only", "scheduler/node.cc", '#include "object_store/arena.h"')
        self.assert_refused("down only", "worker/pool.cc", '#include "sheaf/ml/tensor.h"')
        self.assert_refused("down only", "runtime/getter.cc", '#include "worker/executor.h"')
        self.assert_clean("runtime/getter.cc", '#include "object_store/arena.h"', '#include "base/check.h"')
        self.assert_clean("tests/ml/tensor_test.cc", '#include "sheaf/ml/tensor.h"')

    def test_ml_uses_public_headers_of_the_runtime_only(self):
        self.assert_refused("public headers", "ml/weights.cc", '#include "runtime/context.h"')
        self.assert_clean("ml/weights.cc", '#include "sheaf/array.h"', '#include "ml/file.h"')

    def test_grpc_stays_out_of_user_programs(self):
        self.assert_refused("gRPC", "runtime/context.cc", "#include <grpcpp/grpcpp.h>")
        self.assert_refused("gRPC", "object_store/heap.cc", '#include "proto/view.pb.h"')
        self.assert_refused("gRPC", "scheduler/node_table.cc", "#include <grpcpp/server.h>")
        self.assert_clean("scheduler/scheduler_service.cc", "#include <grpcpp/server.h>")

    def test_public_headers_need_the_standard_library_only(self):
        for line in ("#include <absl/status/status.h>", "#include <unistd.h>", '#include "base/check.h"'):
            self.assert_refused("standard library", "runtime/include/sheaf/array.h", line)
        self.assert_clean("runtime/include/sheaf/array.h", "#include <span>", '#include "sheaf/detail/abi.h"')

    def test_cores_do_not_wait_or_read_clocks(self):
        for line in ("#include <mutex>", "#include <sys/socket.h>", '#include "base/clock.h"',
                     "auto t = std::chrono::steady_clock::now();"):
            self.assertTrue(complaints("scheduler/lease_core.cc", line), line)
        self.assert_clean("scheduler/lease_core.cc", "#include <map>")
        self.assert_clean("worker/pool_server.cc", "#include <mutex>")

    def test_no_absl_locks_and_no_boost(self):
        self.assert_refused("std::mutex", "worker/pool.cc", "#include <absl/synchronization/mutex.h>")
        self.assert_refused("decisions", "object_store/heap.cc", "#include <boost/interprocess/mapped_region.hpp>")

    def test_stable_sort_stays_out(self):
        self.assert_refused("stable_sort", "scheduler/why.cc", "std::stable_sort(a.begin(), a.end());")
        self.assert_clean("scheduler/why.cc", "std::sort(a.begin(), a.end());")

    def test_files_and_lines_stay_short(self):
        self.assert_refused("two ideas", "base/long.h", *["int x;"] * 600)
        self.assert_refused("columns", "base/wide.h", "// " + "x" * 150)
        self.assert_refused("white space", "base/space.h", "int x; ")

    def test_vague_names_are_refused(self):
        self.assert_refused("says nothing", "worker/pool.h", "class WorkerManager {")
        self.assert_refused("says nothing", "worker/pool.h", "struct StringUtils {")
        self.assert_clean("worker/pool.h", "class WorkerTable {")

    def test_a_choice_of_arrays_is_not_indexed(self):
        self.assert_refused("choose a pointer", "worker/lane.cc", "auto& done = (lane == 0 ? in.done : in.urgent)[position % depth];")
        self.assert_clean("worker/lane.cc", "auto* done = lane == 0 ? in.done : in.urgent;")

    def test_a_file_opens_with_a_comment(self):
        self.assertTrue(tidy.check_source("base/bare.h", "#pragma once\n"))
        self.assertTrue(tidy.check_source("base/bare.h", "// A room.\nint x;\n"))
        self.assertTrue(tidy.check_source("base/bare.cc", '#include "base/other.h"\n'))
        self.assertEqual(tidy.check_source("base/told.cc", '#include "base/told.h"\n'), [])

    def test_every_source_file_is_built(self):
        lists = {"base": "add_layer(sheaf_base SRCS futex.cc)", "tests/base": "sheaf_base_test(futex_test)"}
        self.assertEqual(tidy.nothing_forgotten("base/futex.cc", "", lists), [])
        self.assertEqual(tidy.nothing_forgotten("tests/base/futex_test.cc", "", lists), [])
        self.assertTrue(tidy.nothing_forgotten("base/forgotten.cc", "", lists))
        lists["tests/base"] += "${PROJECT_SOURCE_DIR}/tests/support/fake.cc"
        self.assertEqual(tidy.nothing_forgotten("tests/support/fake.cc", "", lists), [])

    def test_the_readme_quotes_the_example(self):
        example = "// What it is.\n#include <sheaf/sheaf.h>\nint main() {}\n"
        self.assertEqual(tidy.quotes_the_example("a\n```cpp\n#include <sheaf/sheaf.h>\nint main() {}\n```\n", example), [])
        self.assertTrue(tidy.quotes_the_example("a\n```cpp\nint main() {}\n```\n", example))
        self.assertTrue(tidy.quotes_the_example("no program", example))

    def test_links_lead_somewhere(self):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            (root / "there.md").write_text("")
            self.assertEqual(tidy.links_lead_somewhere(root, "README.md", "[a](there.md) [b](https://x.org)"), [])
            self.assertTrue(tidy.links_lead_somewhere(root, "README.md", "[a](gone.md)"))
            self.assertTrue(tidy.links_lead_somewhere(root, "README.md", "see `base/gone.h`"))

    def test_a_header_that_needs_another_first_is_found(self):
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            public = root / "runtime/include/sheaf"
            public.mkdir(parents=True)
            (public / "good.h").write_text("#pragma once\n#include <string>\ninline std::string Name() { return {}; }\n")
            (public / "bad.h").write_text("#pragma once\ninline std::string Name() { return {}; }\n")
            self.assertEqual(tidy.compile_alone(root, "c++", "runtime/include/sheaf/good.h"), [])
            self.assertTrue(tidy.compile_alone(root, "c++", "runtime/include/sheaf/bad.h"))


if __name__ == "__main__":
    unittest.main()
