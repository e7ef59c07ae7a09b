// The corners of the API in one program, against real worker processes.
#include <gtest/gtest.h>
#include <unistd.h>

#include <numeric>
#include <string>
#include <variant>

#include "sheaf/sheaf.h"

namespace {

using namespace sheaf;

int F(int a, const std::string& text) { return a + static_cast<int>(text.size()); }
int V(const std::vector<int>& values) { return std::accumulate(values.begin(), values.end(), 0); }
std::tuple<int, double> T2(int n) { return {n, n / 2.0}; }
int O(int n) { return n; }
int O(double x) { return static_cast<int>(x * 10); }
void N() {}
struct P3 {
  double x, y, z;
};
double L(P3 p) { return p.x + p.y + p.z; }
template <auto G>
auto Stage(auto x) {
  return Remote<G>(x);
}

struct NoSuchPage : std::runtime_error {
  using runtime_error::runtime_error;
};
const bool kRegistered = RegisterErrors<NoSuchPage>();
int Page(int n) { throw NoSuchPage("page " + std::to_string(n)); }
int Use(int n) { return n; }
struct Order {
  std::string customer;
  std::vector<std::pair<std::string, int>> items;
  std::optional<ObjectRef<int>> discount;
  std::variant<int, std::string> number;
};
int Total(const Order& order) {
  int total = 0;
  for (const auto& [name, count] : order.items) total += count;
  return total - (order.discount ? order.discount->Get() : 0);
}
float SumSpan(std::span<const float> values) { return std::accumulate(values.begin(), values.end(), 0.f); }
std::unique_ptr<P3> Own(std::unique_ptr<P3> p) {
  p->x += 1;
  return p;
}
int Fib(int n) {  // tasks that submit and await tasks
  if (n < 2) return n;
  const auto a = Remote<Fib>(n - 1);
  const auto b = Remote<Fib>(n - 2);
  return a.Get() + b.Get();
}
ObjectRef<int> Later(int n) { return Remote<Use>(n); }
int Through(const ObjectRef<int>& ref) { return ref.Get() + 1; }
std::tuple<std::vector<float>, std::string> Big(std::size_t n) {
  return {std::vector<float>(n, 1.f), std::string(n, 'x')};
}

int setting = 0;
void Set(int value) { setting = value; }
int Setting() { return setting; }

class Corners : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    Init();
    setting = 1;  // this process only
    OnWorkerStart<Set>(7);
  }
  static void TearDownTestSuite() { Shutdown(); }
};

TEST_F(Corners, FunctionsOfEveryKind) {
  EXPECT_EQ(Remote<F>(1, "abc").Get(), 4);
  EXPECT_EQ(Remote<Overload<int(int)>(O)>(3).Get(), 3);
  EXPECT_EQ(Remote<Overload<int(double)>(O)>(3).Get(), 30);
  const auto doubled = Remote<[](int q) { return q * 2.0; }>(4);
  EXPECT_EQ(doubled.Get(), 8.0);
  auto lambda = [](int z) { return z; };
  EXPECT_EQ(Remote<lambda>(6).Get(), 6);
  const ObjectRef<void> nothing = Remote<N>();
  nothing.Get();
  EXPECT_EQ(Stage<Use>(3).Get(), 3);
}

TEST_F(Corners, Braces) {
  EXPECT_EQ(Remote<V>({1, 2, 3}).Get(), 6);
  EXPECT_EQ(Remote<L>({1.0, 2.0, 3.0}).Get(), 6.0);
  const int n = 2;
  EXPECT_EQ(Task<F>({.cpus = n - 1, .retries = 3}).Remote(Put(1), "x").Get(), 2);
}

TEST_F(Corners, TuplesAndRefs) {
  const ObjectRef<int> r = Remote<F>(1, "abc");
  auto [a, b] = Remote<T2>(r);
  EXPECT_EQ(a.Get(), 4);
  EXPECT_EQ(Remote<Use>(a).Get(), 4);
  EXPECT_EQ(b.Get(), 2.0);
  const auto [floats, text] = Remote<Big>(std::size_t{100000});
  EXPECT_EQ(Remote<SumSpan>(floats).Get(), 100000.f);
  EXPECT_EQ(text.Get().size(), 100000u);
  EXPECT_EQ(Remote<V>(std::vector{r, a, Put(2)}).Get(), 10);
  EXPECT_EQ(Remote<Use>(Remote<Later>(5)).Get(), 5);
  EXPECT_EQ(Remote<Through>(r).Get(), 5);
}

TEST_F(Corners, Values) {
  const Order order{"ann", {{"pen", 3}, {"ink", 4}}, Remote<Use>(2), "A-7"};
  EXPECT_EQ(Remote<Total>(order).Get(), 5);
  EXPECT_EQ(Remote<Total>(Put(order)).Get(), 5);
  EXPECT_EQ(Remote<Own>(std::make_unique<P3>(P3{1, 2, 3})).Get()->x, 2);
  EXPECT_EQ(Remote<SumSpan>(ArrayBuilder<float>(1 << 18, 1.f).Seal()).Get(), 262144.f);
}

TEST_F(Corners, TasksAwaitTasksToAnyDepth) { EXPECT_EQ(Remote<Fib>(12).Get(), 144); }

TEST_F(Corners, Errors) {
  try {
    Remote<Use>(Remote<Page>(12)).Get();
    FAIL();
  } catch (const NoSuchPage& error) {
    EXPECT_STREQ(error.what(), "page 12");
    const auto& info = dynamic_cast<const TaskInfo&>(error);
    EXPECT_NE(info.task.find("Page"), std::string::npos) << info.task;
    EXPECT_EQ(info.attempt, 1);
  }
}

TEST_F(Corners, Waiting) {
  Completions<int> done;
  std::vector<ObjectRef<int>> refs;
  for (int i = 0; i < 100; ++i) {
    refs.push_back(Remote<Use>(i));
    done.Add(refs.back());
  }
  int sum = 0;
  while (auto next = done.Next()) sum += next->second.Get() - static_cast<int>(next->first);
  EXPECT_EQ(sum, 0);
  EXPECT_TRUE(Wait(refs, refs.size()).pending.empty());
  EXPECT_EQ(Get(refs)[99], 99);
}

TEST_F(Corners, WorkersStartWithWhatTheDriverSays) { EXPECT_EQ(Remote<Setting>().Get(), 7); }

// The last test: its task keeps a worker until the pool ends.
TEST_F(Corners, WaitingEndsWhenTheTimeIsUp) {
  const auto never = Remote<[] { ::pause(); }>();
  EXPECT_THROW(never.Get(std::chrono::milliseconds(1)), TimeoutError);
  EXPECT_TRUE(Wait(std::vector{never}, 1, std::chrono::milliseconds(1)).ready.empty());
}

}  // namespace
