// Calls: what a parameter takes, how functions are named, and what runs in a worker.
#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <numeric>

#include "runtime/typed/registry.h"
#include "sheaf/sheaf.h"
#include "tests/support/in_process_abi.h"

namespace sheaf {
namespace {

struct Point {
  double x, y, z;
};
class Money {
 public:
  Money() = default;
  Money(long units, int cents) : cents_(units * 100 + cents) {}
  static auto Fields(auto& self) { return std::tie(self.cents_); }
  long cents() const { return cents_; }

 private:
  long cents_ = 0;
};
struct Text {
  std::string value;
  operator std::string() const { return value; }
};

int Add(int a, int b) { return a + b; }
std::string Repeat(int n, const std::string& text) {
  std::string out;
  for (int i = 0; i < n; ++i) out += text;
  return out;
}
int Sum(const std::vector<int>& values) { return std::accumulate(values.begin(), values.end(), 0); }
float SumSpan(std::span<const float> values) { return std::accumulate(values.begin(), values.end(), 0.f); }
std::uintptr_t Address(std::span<const float> values) { return reinterpret_cast<std::uintptr_t>(values.data()); }
std::size_t Length(std::string_view text) { return text.size(); }
double Norm1(Point p) { return p.x + p.y + p.z; }
long Cents(Money money) { return money.cents(); }
std::tuple<int, std::string> Both(int n) { return {n, std::to_string(n)}; }
int Take(std::unique_ptr<int> owned) { return *owned; }
std::vector<int> Grow(std::vector<int>&& values) {
  values.push_back(9);
  return std::move(values);
}
const std::string& First(const std::vector<std::string>& words) { return words[0]; }
int Through(const ObjectRef<int>& ref) { return ref.Get() + 1; }
ObjectRef<int> Deeper(int n) { return Remote<Add>(n, 100); }
int Overloaded(int n) { return n; }
int Overloaded(double x) { return static_cast<int>(x * 10); }
int calls = 0;
void Nothing() { ++calls; }
int SumMap(const std::map<std::string, int>& m) {
  int sum = 0;
  for (const auto& [key, value] : m) sum += value;
  return sum;
}
struct Shapes {
  static double Area(double side) noexcept { return side * side; }
};
template <class T>
T Twice(T value) {
  return value + value;
}

TEST(Remote, CallsAFunctionAndReturnsItsResult) {
  EXPECT_EQ(Remote<Add>(1, 2).Get(), 3);
  EXPECT_EQ(Remote<Repeat>(2, "ab").Get(), "abab");
  EXPECT_EQ(Remote<First>(std::vector<std::string>{"a", "b"}).Get(), "a");
  const ObjectRef<void> nothing = Remote<Nothing>();
  nothing.Get();
  EXPECT_EQ(calls, 1);
}

TEST(Remote, TakesEveryKindOfFunction) {
  EXPECT_EQ(Remote<Overload<int(int)>(Overloaded)>(3).Get(), 3);
  EXPECT_EQ(Remote<Overload<int(double)>(Overloaded)>(3).Get(), 30);
  EXPECT_EQ(Remote<&Shapes::Area>(3).Get(), 9);
  EXPECT_EQ(Remote<Twice<std::string>>("x").Get(), "xx");
  EXPECT_EQ(Remote<[](int n) { return n * 100; }>(2).Get(), 200);
  constexpr auto kSquare = [](int n) { return n * n; };
  EXPECT_EQ(Remote<kSquare>(5).Get(), 25);
}

TEST(Remote, BracesWorkAsInAPlainCall) {
  EXPECT_EQ(Remote<Sum>({1, 2, 3}).Get(), 6);
  EXPECT_EQ(Remote<Sum>({7}).Get(), 7);
  EXPECT_EQ(Remote<Sum>({}).Get(), 0);
  EXPECT_EQ(Remote<SumSpan>({1, 2, 3}).Get(), 6);
  EXPECT_EQ(Remote<SumMap>({{"a", 1}, {"b", 2}}).Get(), 3);
  EXPECT_EQ(Remote<Norm1>({1.0, 2.0, 3.0}).Get(), 6);
  EXPECT_EQ(Remote<Norm1>({1, 2, 3}).Get(), 6);
  EXPECT_EQ(Remote<Cents>({3, 14}).Get(), 314);
}

TEST(Remote, ConvertsValuesToTheParameter) {
  EXPECT_EQ(Remote<Repeat>(2.9, Text{"x"}).Get(), "xx");
  EXPECT_EQ(Remote<Length>("four").Get(), 4u);
  EXPECT_EQ(Remote<Length>(std::string(5000, 'x')).Get(), 5000u);
}

TEST(Remote, PassesHandlesOnWithoutACopy) {
  const Array<float> array = ArrayBuilder<float>(1000, 1.f).Seal();
  EXPECT_EQ(Remote<Address>(array).Get(), reinterpret_cast<std::uintptr_t>(array.data()));
  EXPECT_EQ(Remote<Address>(Put(array)).Get(), reinterpret_cast<std::uintptr_t>(array.data()));
  EXPECT_EQ(Remote<SumSpan>(std::vector<float>(1000, 2.f)).Get(), 2000);
}

TEST(Remote, AwaitsRefsAndDereferencesThem) {
  in_process::Defer(true);
  const auto first = Remote<Add>(1, 2);
  const auto second = Remote<Add>(first, 10);
  EXPECT_EQ(in_process::Last().dependencies, 1u);
  EXPECT_FALSE(second.Ready());
  EXPECT_THROW(second.Get(Duration::zero()), TimeoutError);
  in_process::RunNext();
  in_process::RunNext();
  in_process::Defer(false);
  EXPECT_EQ(second.Get(), 13);
}

TEST(Remote, AwaitsAVectorOfRefs) {
  std::vector<ObjectRef<int>> refs{Remote<Add>(1, 1), Put(5), Remote<Add>(2, 2)};
  EXPECT_EQ(Remote<Sum>(refs).Get(), 11);
  EXPECT_EQ(in_process::Last().dependencies, 3u);
}

TEST(Remote, FollowsARefOnARef) {
  const ObjectRef<ObjectRef<int>> deep = Remote<Deeper>(1);
  EXPECT_EQ(deep.Get().Get(), 101);
  EXPECT_EQ(Remote<Add>(deep, 1).Get(), 102);
  EXPECT_EQ(Remote<Through>(deep).Get(), 102) << "for an ObjectRef parameter only the outer is read";
}

TEST(Remote, PassesARefThroughWhereTheParameterIsARef) {
  in_process::Defer(true);
  const auto unready = Remote<Add>(1, 2);
  const auto user = Remote<Through>(unready);
  EXPECT_EQ(in_process::Last().dependencies, 0u) << "not awaited";
  in_process::RunNext();
  in_process::RunNext();
  in_process::Defer(false);
  EXPECT_EQ(user.Get(), 4);
}

TEST(Remote, TupleResultsHaveARefEach) {
  auto [number, text] = Remote<Both>(7);
  EXPECT_EQ(Remote<Add>(number, 1).Get(), 8);
  EXPECT_EQ(Remote<Repeat>(2, text).Get(), "77");
}

TEST(Remote, MoveOnlyAndRvalueParametersGetTheirOwnCopy) {
  EXPECT_EQ(Remote<Take>(std::make_unique<int>(4)).Get(), 4);
  std::vector<int> values{1};
  const auto ref = Put(values);
  EXPECT_EQ(Remote<Grow>(ref).Get(), (std::vector<int>{1, 9}));
  EXPECT_EQ(ref.Get(), values);
}

TEST(Remote, ArgumentsAreCapturedBeforeItReturns) {
  in_process::Defer(true);
  ObjectRef<int> sum;
  {
    std::vector<int> values(1000, 1);
    sum = Remote<Sum>(values);
    values.assign(1000, 2);
  }
  in_process::RunNext();
  in_process::Defer(false);
  EXPECT_EQ(sum.Get(), 1000);
}

TEST(Remote, OptionsReachTheRuntime) {
  const int cpus = 2;
  EXPECT_EQ(Task<Add>({.name = "sum", .cpus = cpus, .retries = 0}).Remote(1, 2).Get(), 3);
  EXPECT_EQ(in_process::Last().name, "sum");
  EXPECT_EQ(in_process::Last().cpus, 2);
  EXPECT_EQ(in_process::Last().retries, 0);
  EXPECT_EQ((Task<Sum>({}).Remote({1, 2}).Get()), 3);
  EXPECT_EQ(in_process::Last().retries, 3);
}

TEST(Remote, OptionsThatCannotBeAreRefusedByTheirNames) {
  const auto complaint = [](TaskOptions options) -> std::string {
    try {
      Task<Add>(std::move(options));
    } catch (const Error& error) {
      return error.what();
    }
    return "nothing was thrown";
  };
  for (const double cpus : {-1.0, -0.001, 1e9, std::numeric_limits<double>::quiet_NaN()})
    EXPECT_EQ(complaint({.cpus = cpus}).rfind("TaskOptions.cpus is ", 0), 0u) << cpus;
  EXPECT_EQ(complaint({.retries = -1}).rfind("TaskOptions.retries is -1: ", 0), 0u);
  EXPECT_EQ(complaint({.cpus = 0, .retries = 0}), "nothing was thrown");
}

TEST(Remote, AnEmptyRefIsRefusedWhereItIsUsed) {
  const ObjectRef<int> empty;
  EXPECT_THROW(Remote<Add>(empty, 1), Error);
  EXPECT_THROW(Put(std::vector<ObjectRef<int>>(1)), Error);
  EXPECT_THROW(empty.Get(), Error);
  EXPECT_FALSE(empty);
}

TEST(Remote, KeepsNothingAliveAfterTheLastRef) {
  const auto objects = in_process::LiveObjects();
  const auto blocks = in_process::LiveBlocks();
  {
    auto ref = Remote<Sum>(std::vector<int>(1000, 1));
    ref = Remote<Add>(ref, 1);
    EXPECT_EQ(ref.Get(), 1001);
  }
  EXPECT_EQ(in_process::LiveObjects(), objects);
  EXPECT_EQ(in_process::LiveBlocks(), blocks);
}

TEST(Remote, OnWorkerStartTakesArgumentsLikeACall) {
  OnWorkerStart<Nothing>();
  EXPECT_EQ(calls, 2);
}

TEST(ObjectRef, IsSixteenBytesAndCallsBackWhenReady) {
  static_assert(sizeof(ObjectRef<std::string>) == 16);
  in_process::Defer(true);
  const auto ref = Remote<Add>(1, 2);
  int called = 0;
  ref.OnReady([&called] { ++called; });
  EXPECT_EQ(called, 0);
  in_process::RunNext();
  in_process::Defer(false);
  EXPECT_EQ(called, 1);
  ref.OnReady([&called] { ++called; });
  EXPECT_EQ(called, 2);
}

std::string NameOf(std::uint32_t index) { return detail::ReadableFunctionName(detail::FunctionAt(index)->name); }

TEST(Registry, FunctionsHaveNamesForPeople) {
  EXPECT_EQ(NameOf(detail::Registered<Add>::kIndex), "sheaf::Add");
  EXPECT_EQ(NameOf(detail::Registered<&Shapes::Area>::kIndex), "sheaf::Shapes::Area");
  EXPECT_EQ(detail::DescribeFunction(detail::Registered<Repeat>::kIndex),
            "sheaf::Repeat: std::string (int, std::string)");
  EXPECT_EQ(detail::ReadableType(typeid(std::map<std::string, std::vector<int>>).name()),
            "std::map<std::string, std::vector<int>>");
}

TEST(Registry, AnotherProgramsFunctionIsATypedErrorThatNamesBoth) {
  const std::uint32_t index = detail::Registered<Add>::kIndex;
  EXPECT_EQ(&detail::RequireFunction(index, detail::FunctionAt(index)->digest), detail::FunctionAt(index));
  try {
    detail::RequireFunction(index, detail::FunctionAt(detail::Registered<Sum>::kIndex)->digest);
    FAIL();
  } catch (const TypeMismatchError& error) {
    const std::string what = error.what();
    EXPECT_NE(what.find("sheaf::Add: int (int, int)"), std::string::npos) << what;
    EXPECT_NE(what.find("sheaf::Sum: int (std::vector<int>)"), std::string::npos) << what;
  }
  EXPECT_THROW(detail::RequireFunction(index, 1), TypeMismatchError);
  EXPECT_THROW(detail::RequireFunction(detail::FunctionCount(), 1), FunctionNotFoundError);
}

}  // namespace
}  // namespace sheaf
