// Wrong addresses, wrong sizes, wrong types, broken peers: each a typed error with advice, never a hang or a crash.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "runtime/context.h"
#include "runtime/typed/registry.h"
#include "sheaf/sheaf.h"
#include "tests/support/message_of.h"

namespace {

using sheaf::ObjectRef;
using sheaf::Remote;
using sheaf::test::MessageOf;

int Twice(int x) { return 2 * x; }
void Note(int) {}
int Print(int x) {
  std::printf("%d\n", x);
  std::fflush(stdout);
  return x;
}
int Sleep(int seconds) {
  sleep(static_cast<unsigned>(seconds));
  return seconds;
}
sheaf::Array<char> Big(long bytes) {
  return std::move(sheaf::ArrayBuilder<char>(static_cast<std::size_t>(bytes))).Seal();
}

TEST(BadAddress, SaysThatNoPoolAnswersAndHowToStartOne) {
  setenv("SHEAF_ADDRESS", "/nonexistent/pool.sock", 1);
  EXPECT_THROW(sheaf::Init(), sheaf::InitError);
  EXPECT_NE(MessageOf([] { sheaf::Init(); }).find("sheaf pool start"), std::string::npos);
  setenv("SHEAF_ADDRESS", std::string(300, 'x').c_str(), 1);
  EXPECT_THROW(sheaf::Init(), sheaf::InitError);
  unsetenv("SHEAF_ADDRESS");
}

// As after `program >&- <&-`.
TEST(ClosedStreams, LeadNowhereAndNoSocketGetsTheirNumbers) {
  std::fflush(stdout);
  const int input = dup(STDIN_FILENO), output = dup(STDOUT_FILENO);
  close(STDIN_FILENO);
  close(STDOUT_FILENO);
  sheaf::Init();
  EXPECT_EQ(Remote<Print>(3).Get(), 3);
  for (const char* stream : {"/proc/self/fd/0", "/proc/self/fd/1"})
    EXPECT_EQ(std::filesystem::read_symlink(stream), "/dev/null");
  sheaf::Shutdown();
  dup2(input, STDIN_FILENO);
  dup2(output, STDOUT_FILENO);
  close(input);
  close(output);
}

TEST(BadAddress, SaysThatAPortIsASchedulers) {
  setenv("SHEAF_ADDRESS", "127.0.0.1:7400", 1);
  EXPECT_NE(MessageOf([] { sheaf::Init(); }).find("`sheaf pool start --scheduler 127.0.0.1:7400`"), std::string::npos);
  setenv("SHEAF_ADDRESS", "10.0.0.1:7400", 1);
  EXPECT_NE(MessageOf([] { sheaf::Init(); }).find("`sheaf pool start --join 10.0.0.1:7400`"), std::string::npos);
  unsetenv("SHEAF_ADDRESS");
}

TEST(BadAddress, RefusesAnUnknownOptionByItsName) {
  char name[] = "program", option[] = "--sheaf-wokers=3";
  char* argv[] = {name, option, nullptr};
  int argc = 2;
  EXPECT_NE(MessageOf([&] { sheaf::Init(argc, argv); }).find("--sheaf-wokers"), std::string::npos);
}

TEST(BadAddress, SaysWhatIsWrongWithASizeAndWhoseItIs) {
  setenv("SHEAF_STORE", "abc", 1);
  EXPECT_THROW(sheaf::Init(), sheaf::InitError);
  EXPECT_EQ(MessageOf([] { sheaf::Init(); }),
            "SHEAF_STORE or --sheaf-store: 'abc' is not a size; write 512MiB, 4GiB or a number of bytes");
  setenv("SHEAF_STORE", "4", 1);
  EXPECT_NE(MessageOf([] { sheaf::Init(); }).find("64MiB is the least"), std::string::npos);
  unsetenv("SHEAF_STORE");
}

TEST(BadAddress, TakesItsOwnOptionsOutOfTheArguments) {
  char name[] = "program", mine[] = "--epochs=3", option[] = "--sheaf-workers=1";
  char* argv[] = {name, option, mine, nullptr};
  int argc = 3;
  sheaf::Init(argc, argv);
  EXPECT_EQ(argc, 2);
  EXPECT_STREQ(argv[1], "--epochs=3");
  EXPECT_EQ(Remote<Twice>(4).Get(), 8);
  EXPECT_THROW(sheaf::Init(), sheaf::InitError);  // twice
  sheaf::Shutdown();
}

TEST(BadAddress, AnOptionWithoutItsEqualsSignSaysHowToWriteIt) {
  char name[] = "program", option[] = "--sheaf-store", value[] = "1GiB";
  char* argv[] = {name, option, value, nullptr};
  int argc = 3;
  EXPECT_EQ(MessageOf([&] { sheaf::Init(argc, argv); }),
            "--sheaf-store needs its value behind a '=': write --sheaf-store=1GiB");
}

TEST(BeforeInit, EverythingSaysThatInitIsMissing) {
  EXPECT_THROW(Remote<Twice>(1), sheaf::InitError);
  EXPECT_THROW(sheaf::Put(1), sheaf::InitError);
}

class BadInput : public testing::Test {
 protected:
  void SetUp() override {
    setenv("SHEAF_STORE", "256MiB", 1);
    sheaf::Init();
  }
  void TearDown() override { sheaf::Shutdown(); }
};

TEST_F(BadInput, AnObjectLargerThanTheBudgetIsATypedErrorAndNothingIsLost) {
  const auto kept = sheaf::Put(std::vector<int>{1, 2, 3});
  EXPECT_THROW(sheaf::ArrayBuilder<char>(1l << 30), sheaf::OutOfMemoryError);
  EXPECT_THROW(Remote<Big>(1l << 30).Get(), sheaf::Error);
  EXPECT_EQ(kept.Get()[2], 3);
  EXPECT_EQ(Remote<Twice>(21).Get(), 42);
}

TEST_F(BadInput, OnWorkerStartAfterTheFirstTaskIsAnError) {
  sheaf::OnWorkerStart<Note>(1);
  EXPECT_EQ(Remote<Twice>(2).Get(), 4);
  EXPECT_NE(MessageOf([] { sheaf::OnWorkerStart<Note>(1); }).find("before the first task"), std::string::npos);
}

TEST_F(BadInput, AForkedChildIsToldToJoinByItselfAndItsParentGoesOn) {
  const auto ref = Remote<Twice>(2);
  EXPECT_EQ(ref.Get(), 4);
  const pid_t child = fork();
  if (child == 0) {
    int wrong = MessageOf([] { Remote<Twice>(1); }).find("was forked from one that uses Sheaf") == std::string::npos;
    wrong |= MessageOf([&] { ref.Get(); }).find("was forked") == std::string::npos ? 2 : 0;
    {
      const auto copy = ref;
    }
    sheaf::Shutdown();       // nothing of its own
#ifndef __SANITIZE_THREAD__  // which bears no threads in the child of a fork
    sheaf::Init();
    wrong |= Remote<Twice>(3).Get() == 6 ? 0 : 4;
    sheaf::Shutdown();
#endif
    _exit(wrong);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(Remote<Twice>(5).Get(), 10);
}

TEST_F(BadInput, SaysWhoseStoreIsSpentAndHowLargeItIs) {
  const std::string whole = MessageOf([] { sheaf::ArrayBuilder<char>(1l << 30); });
  EXPECT_NE(whole.find("a block of 1GiB is larger than all of the store of the pool on "), std::string::npos) << whole;
  EXPECT_NE(whole.find("whose budget is 256MiB"), std::string::npos) << whole;
  const auto kept = sheaf::Put(std::move(sheaf::ArrayBuilder<char>(200 << 20)).Seal());
  const std::string spent = MessageOf([] { sheaf::ArrayBuilder<char>(100 << 20); });
  EXPECT_NE(spent.find("no room for a block of 100MiB: the budget of the store of the pool on "), std::string::npos)
      << spent;
  EXPECT_NE(spent.find(", 256MiB, is spent; this process holds 200MiB"), std::string::npos) << spent;
}

TEST_F(BadInput, MemoryComesBackWhenRefsAreDropped) {
  for (int i = 0; i < 50; ++i) {
    const auto large = sheaf::Put(std::move(sheaf::ArrayBuilder<char>(40 << 20)).Seal());
    ASSERT_EQ(large.Get().size(), 40u << 20);
    ASSERT_EQ(Remote<Big>(20 << 20).Get().size(), 20u << 20);
  }
  auto& context = sheaf::runtime::RequireContext();
  EXPECT_EQ(context.heap().live_bytes(), 0u);
  EXPECT_EQ(context.submitter().slots().live(), 0u);
}

TEST_F(BadInput, AnEmptyRefIsRefusedWhereItIsUsed) {
  ObjectRef<int> nothing;
  EXPECT_THROW(nothing.Get(), sheaf::Error);
  EXPECT_THROW(Remote<Twice>(nothing), sheaf::Error);
}

TEST_F(BadInput, MoreCpusThanThePoolHasIsInfeasible) {
  EXPECT_THROW(sheaf::Task<Twice>({.cpus = 1000}).Remote(1).Get(), sheaf::InfeasibleError);
}

TEST_F(BadInput, AFunctionThatTheWorkerDoesNotHaveIsATypedError) {
  auto& context = sheaf::runtime::RequireContext();
  sheaf::detail::Encoder none;
  const auto missing = context.submitter().Submit(99999, 1, none, {});
  EXPECT_THROW(
      {
        const auto stored = sheaf::detail::Fetch(missing, sheaf::kForever);
        ASSERT_TRUE(stored.error);
        sheaf::detail::ThrowStored(stored.payload);
      },
      sheaf::FunctionNotFoundError);
  sheaf::detail::Encoder empty;
  const auto mismatch = context.submitter().Submit(0, 0xdeadbeef, empty, {});
  EXPECT_THROW(sheaf::detail::ThrowStored(sheaf::detail::Fetch(mismatch, sheaf::kForever).payload),
               sheaf::TypeMismatchError);
}

TEST_F(BadInput, ArgumentsThatAreTooShortAreATypedError) {
  auto& context = sheaf::runtime::RequireContext();
  (void)Remote<Twice>(1).Get();
  for (std::uint32_t function = 0; function < 3; ++function) {
    const auto* entry = sheaf::detail::FunctionAt(function);
    ASSERT_NE(entry, nullptr);
    sheaf::detail::Encoder empty;
    const auto stored =
        sheaf::detail::Fetch(context.submitter().Submit(function, entry->digest, empty, {}), sheaf::kForever);
    EXPECT_TRUE(stored.error);
  }
  EXPECT_EQ(Remote<Twice>(3).Get(), 6);
}

// A submitter whose memory is broken: the worker must answer or ignore it, and serve others.
TEST_F(BadInput, GarbageInARingHarmsOnlyItsWriter) {
  EXPECT_EQ(Remote<Twice>(1).Get(), 2);
  auto& context = sheaf::runtime::RequireContext();
  auto* control = context.control();
  auto* out =
      reinterpret_cast<sheaf::store::OutRegion*>(reinterpret_cast<std::byte*>(control) + sheaf::store::OutOffset());
  for (std::uint32_t region = 0; region < control->out_regions; ++region) {
    out[region].released.store(0x7fffffff);
    out[region].recall_from.store(0xfffffff0);
    out[region].recall_end.store(5);
    for (std::uint32_t i = 0; i < 64; ++i)
      out[region].urgent[i].store((std::uint64_t{i + 1} << 32) | (0xabcdef00u + i));
  }
  // The pool lives, and serves a driver that is in order.
  ASSERT_NE(std::getenv("SHEAF_BIN"), nullptr);
  const std::string self = std::string(std::getenv("SHEAF_BIN")) + " --version > /dev/null";
  EXPECT_EQ(std::system(self.c_str()), 0);
}

TEST_F(BadInput, AGetWithATimeoutGivesUpInTime) {
  const auto slow = Remote<Sleep>(1);
  EXPECT_THROW(slow.Get(std::chrono::milliseconds(20)), sheaf::TimeoutError);
  EXPECT_EQ(slow.Get(), 1);
}

}  // namespace
