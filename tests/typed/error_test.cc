// Exceptions of tasks and errors of the runtime, from where they are thrown to Get().
#include <gtest/gtest.h>

#include "sheaf/sheaf.h"
#include "tests/support/in_process_abi.h"

namespace sheaf {
namespace {

struct NoSuchPage : std::runtime_error {
  using runtime_error::runtime_error;
};
struct BadPixel {
  int x = 0, y = 0;
  std::vector<float> around;
};
class Coded : public std::exception {
 public:
  Coded() = default;
  explicit Coded(int code) : code_(code) {}
  static auto Fields(auto& self) { return std::tie(self.code_); }
  const char* what() const noexcept override { return "coded"; }
  int code() const { return code_; }

 private:
  int code_ = 0;
};
struct BadArray {
  Array<float> small, large;
};
const bool kRegistered = RegisterErrors<NoSuchPage, BadPixel, Coded, BadArray>();

int ThrowStd(int) { throw std::out_of_range("index 7 of 3"); }
int ThrowPage() { throw NoSuchPage("page 12"); }
int ThrowPixel() { throw BadPixel{3, 4, std::vector<float>(1000, 1.f)}; }
int ThrowCoded() { throw Coded(42); }
int ThrowArray() { throw BadArray{ArrayBuilder<float>(2, 1.f).Seal(), ArrayBuilder<float>(2000, 2.f).Seal()}; }
int ThrowInt() { throw 5; }
int ThrowText() { throw std::string("plain text"); }
int ThrowLong() { throw std::runtime_error(std::string(1 << 20, 'x')); }
int Inner() { return Remote<ThrowStd>(1).Get(); }
int InnerPage() { return Remote<ThrowPage>().Get(); }
int WaitTooLong() { throw TimeoutError("not ready in time"); }
int NeedTooMuch() { return static_cast<int>(ArrayBuilder<double>(std::size_t{1} << 40).size()); }

template <class E, class F>
E Catch(F f) {
  try {
    f();
  } catch (const E& error) {
    return error;
  }
  throw std::logic_error("nothing was thrown");
}

TEST(TaskError, CarriesTypeMessageTaskAndAttempt) {
  const auto error = Catch<TaskError>([] { Remote<ThrowStd>(1).Get(); });
  EXPECT_EQ(error.type, "std::out_of_range");
  EXPECT_EQ(error.message, "index 7 of 3");
  EXPECT_EQ(error.task, "sheaf::ThrowStd");
  EXPECT_EQ(error.attempt, 1);
  EXPECT_STREQ(error.what(), "task 'sheaf::ThrowStd' threw std::out_of_range: index 7 of 3");
}

TEST(TaskError, UsesTheNameThatTheUserGave) {
  const auto error = Catch<TaskError>([] { Task<ThrowStd>({.name = "load"}).Remote(1).Get(); });
  EXPECT_EQ(error.task, "load");
}

TEST(TaskError, ReportsExceptionsThatAreNotOfStd) {
  EXPECT_EQ(Catch<TaskError>([] { Remote<ThrowInt>().Get(); }).type, "int");
  EXPECT_EQ(Catch<TaskError>([] { Remote<ThrowText>().Get(); }).message, "plain text");
}

TEST(TaskError, CutsAMessageThatIsTooLong) {
  EXPECT_EQ(Catch<TaskError>([] { Remote<ThrowLong>().Get(); }).message.size(), 16u * 1024);
}

TEST(TaskError, KeepsTheFirstCauseThroughTasksThatLetItPass) {
  const auto error = Catch<TaskError>([] { Remote<Inner>().Get(); });
  EXPECT_EQ(error.task, "sheaf::ThrowStd");
  EXPECT_STREQ(error.what(),
               "task 'sheaf::ThrowStd', passed on by 'sheaf::Inner' threw std::out_of_range: index 7 of 3");
}

TEST(TaskError, ReachesTheConsumersOfAFailedArgument) {
  constexpr auto kUse = [](int n) { return n; };
  const auto error = Catch<TaskError>([&] { Remote<kUse>(Remote<ThrowStd>(1)).Get(); });
  EXPECT_EQ(error.task, "sheaf::ThrowStd");
}

TEST(RegisteredError, ArrivesAsItselfMixedWithItsTask) {
  const auto page = Catch<NoSuchPage>([] { Remote<ThrowPage>().Get(); });
  EXPECT_STREQ(page.what(), "page 12");
  const auto info = Catch<TaskInfo>([] { Remote<ThrowPage>().Get(); });
  EXPECT_EQ(info.task, "sheaf::ThrowPage");
  EXPECT_EQ(info.type, "sheaf::NoSuchPage");
  EXPECT_THROW(Remote<ThrowPage>().Get(), std::runtime_error) << "std::exception is not ambiguous";
  EXPECT_THROW(Remote<ThrowPage>().Get(), std::exception);
}

TEST(RegisteredError, IsSentWhole) {
  const auto pixel = Catch<BadPixel>([] { Remote<ThrowPixel>().Get(); });
  EXPECT_EQ(pixel.y, 4);
  EXPECT_EQ(pixel.around.size(), 1000u);
  EXPECT_EQ(Catch<Coded>([] { Remote<ThrowCoded>().Get(); }).code(), 42);
}

TEST(RegisteredError, KeepsTheMemoryOfItsHandles) {
  const auto blocks = in_process::LiveBlocks();
  auto ref = Remote<ThrowArray>();
  {
    const auto error = Catch<BadArray>([&ref] { ref.Get(); });
    ref = {};
    EXPECT_EQ(error.small[1], 1.f);
    EXPECT_EQ(error.large[1999], 2.f);
  }
  EXPECT_EQ(in_process::LiveBlocks(), blocks);
}

TEST(RegisteredError, StaysItselfThroughATaskThatLetsItPass) {
  const auto info = Catch<TaskInfo>([] { Remote<InnerPage>().Get(); });
  EXPECT_EQ(info.task, "sheaf::ThrowPage");
  EXPECT_THROW(Remote<InnerPage>().Get(), NoSuchPage);
}

TEST(RuntimeError, ArrivesAsItsClassWithTheTask) {
  const auto core = in_process::MakeFailed("WorkerDiedError", "worker 12 was killed by signal 9", {"load", 4});
  const auto ref = detail::RefAccess::Make<int>(core);
  const auto error = Catch<WorkerDiedError>([&] { ref.Get(); });
  EXPECT_STREQ(error.what(), "worker 12 was killed by signal 9 (task 'load', attempt 4)");
  EXPECT_EQ(Catch<TaskInfo>([&] { ref.Get(); }).attempt, 4);
}

TEST(RuntimeError, FromAProcessWithoutTheProgramNamesTheTaskAllTheSame) {
  std::uint32_t index = 0;
  while (detail::DescribeFunction(index).find("ThrowPage") == std::string::npos) ++index;
  const auto text = [](const std::string& task) {
    const auto core = in_process::MakeFailed("WorkerDiedError", "m", {task, 1});
    return Catch<TaskInfo>([&] { detail::RefAccess::Make<int>(core).Get(); }).task;
  };
  EXPECT_EQ(text("function " + std::to_string(index) + " (not in this program)"), detail::DescribeFunction(index));
  EXPECT_EQ(text("function 4000000 (not in this program)"), detail::DescribeFunction(4000000));
  EXPECT_EQ(text("function x (not in this program)"), "function x (not in this program)");
}

TEST(RuntimeError, EveryKindIsMappedBack) {
  const auto get = [](std::string_view kind) {
    detail::RefAccess::Make<int>(in_process::MakeFailed(kind, "m", {})).Get();
  };
  EXPECT_THROW(get("TimeoutError"), TimeoutError);
  EXPECT_THROW(get("ObjectLostError"), ObjectLostError);
  EXPECT_THROW(get("PoolLostError"), PoolLostError);
  EXPECT_THROW(get("OutOfMemoryError"), OutOfMemoryError);
  EXPECT_THROW(get("TypeMismatchError"), TypeMismatchError);
  EXPECT_THROW(get("FunctionNotFoundError"), FunctionNotFoundError);
  EXPECT_THROW(get("InfeasibleError"), InfeasibleError);
  EXPECT_THROW(get("WorkerDiedError"), WorkerDiedError);
  EXPECT_THROW(get("InitError"), InitError);
  EXPECT_THROW(get("FormatError"), FormatError);
  EXPECT_THROW(get("SomethingNew"), TaskError);
}

TEST(RuntimeError, ATimeoutInsideATaskIsNotTheCallersTimeout) {
  EXPECT_EQ(Catch<TaskError>([] { Remote<WaitTooLong>().Get(); }).type, "sheaf::TimeoutError");
}

TEST(RuntimeError, OutOfMemoryInsideATaskStaysThat) { EXPECT_THROW(Remote<NeedTooMuch>().Get(), OutOfMemoryError); }

TEST(RuntimeError, ADamagedErrorIsAnError) {
  detail::Encoder error;
  detail::EncodeRuntimeError("WorkerDiedError", "m", {"t", 1}, error);
  for (std::size_t size = 0; size < error.payload().size(); ++size) {
    EXPECT_THROW(detail::ThrowStored(error.payload().first(size)), FormatError) << size;
  }
}

}  // namespace
}  // namespace sheaf
