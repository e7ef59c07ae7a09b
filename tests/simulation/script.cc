#include "tests/simulation/script.h"

namespace sheaf::simulation {

std::uint64_t Mix(std::uint64_t value) { return Random(value).Next(); }

std::vector<Op> ScriptOf(const Plan& plan, std::uint64_t seed, int depth, std::size_t refs) {
  if (plan) return *plan;
  Random random(seed);
  std::vector<Op> ops;
  const auto compute = [&] {
    Op op;
    op.time = Time{1} << random.Between(10, 22);  // 1 us to 4 ms
    ops.push_back(op);
  };
  compute();
  for (std::uint32_t i = 0; i < refs; ++i) {
    if (random.OneIn(2)) continue;
    Op op;
    op.kind = Op::kGetRef;
    op.index = i;
    ops.push_back(op);
  }
  const std::uint64_t children = depth > 0 ? random.Below(4) : 0;
  for (std::uint32_t i = 0; i < children; ++i) {
    Op op;
    op.kind = Op::kSubmit;
    op.seed = random.Next();
    op.index = i;
    if (i > 0 && random.OneIn(3)) op.awaits.push_back(static_cast<std::uint32_t>(random.Below(i)));
    if (i > 0 && random.OneIn(3)) op.passes.push_back(static_cast<std::uint32_t>(random.Below(i)));
    op.passes_own_refs = random.OneIn(3);
    ops.push_back(op);
    if (random.OneIn(3)) compute();
  }
  for (std::uint32_t i = 0; i < children; ++i) {
    if (random.OneIn(4)) continue;
    Op op;
    op.kind = Op::kGetChild;
    op.index = i;
    ops.push_back(op);
    if (random.OneIn(4)) compute();
  }
  if (children > 0 && random.OneIn(3)) {
    Op op;
    op.kind = Op::kReturnChild;
    op.index = static_cast<std::uint32_t>(random.Below(children));
    ops.push_back(op);
  }
  return ops;
}

std::uint64_t ExpectedValue(const Plan& plan, std::uint64_t seed, int depth,
                            const std::vector<std::uint64_t>& dependencies, const std::vector<std::uint64_t>& refs) {
  std::uint64_t value = Mix(seed);
  for (const std::uint64_t dependency : dependencies) value = Mix(value ^ dependency);
  std::vector<std::uint64_t> children;
  for (const Op& op : ScriptOf(plan, seed, depth, refs.size())) {
    if (op.kind == Op::kSubmit) {
      std::vector<std::uint64_t> awaits, passes;
      for (const auto index : op.awaits) awaits.push_back(children[index]);
      for (const auto index : op.passes) passes.push_back(children[index]);
      if (op.passes_own_refs) passes.insert(passes.end(), refs.begin(), refs.end());
      children.push_back(ExpectedValue(op.plan, op.seed, depth - 1, awaits, passes));
    } else if (op.kind == Op::kGetChild) {
      value = Mix(value ^ children[op.index]);
    } else if (op.kind == Op::kGetRef) {
      value = Mix(value ^ refs[op.index]);
    }
  }
  return value;
}

}  // namespace sheaf::simulation
