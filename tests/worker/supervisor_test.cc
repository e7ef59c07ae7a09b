// Who dies with whom: every process of a pool hangs on the supervisor, whatever is killed.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "tests/worker/test_client.h"
#include "worker/child_start.h"
#include "worker/supervisor.h"

namespace sheaf::testing {
namespace {

using wire::Kind;
using wire::Role;

struct Bare {
  wire::Header header;
};

struct Running {
  TestClient driver;
  pid_t worker;
};

Running DriverWithAWorker(const PoolProcess& pool) {
  TestClient driver = TestClient::Connect(pool.path());
  EXPECT_TRUE(driver.Attach(Role::kDriver));
  driver.Send(Kind::kWant, wire::Want{{}, 1, 1000});
  const auto pair = driver.Await(Kind::kOpenOut);
  const auto& entry = driver.page().clients[pair->As<wire::OpenPair>().peer & (limits::kClientsMax - 1)];
  const pid_t worker = static_cast<pid_t>(entry.pid.load());
  if (worker <= 0) std::abort();  // kill(0) would mean ourselves
  return {std::move(driver), worker};
}

TEST(Supervisor, TakesEverybodyWithItWhenItIsKilled) {
  PoolProcess pool;
  const Running running = DriverWithAWorker(pool);
  const pid_t daemon = pool.pool();
  ASSERT_GT(daemon, 0);
  EXPECT_EQ(pool.Stop(SIGKILL), 128 + SIGKILL);
  EXPECT_TRUE(Eventually([&] { return !ProcessExists(daemon) && !ProcessExists(running.worker); }));
}

TEST(Supervisor, EndsWithTheWorkersWhenThePoolIsKilled) {
  PoolProcess pool;
  Running running = DriverWithAWorker(pool);
  const pid_t daemon = pool.pool();
  ASSERT_GT(daemon, 0);
  kill(daemon, SIGKILL);
  EXPECT_EQ(pool.AwaitExit(), 1);
  EXPECT_FALSE(ProcessExists(running.worker));
  EXPECT_TRUE(running.driver.AwaitClosed());
}

TEST(Supervisor, ReportsAWorkersExitCode) {
  PoolProcess pool;
  Running running = DriverWithAWorker(pool);
  kill(running.worker, SIGTERM);  // its default action: the signal is the status
  const auto gone = running.driver.Await(Kind::kGone);
  ASSERT_TRUE(gone);
  EXPECT_EQ(gone->As<wire::Gone>().status, SIGTERM);
}

TEST(Supervisor, EndsAnEmbeddedPoolWithItsDriver) {
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
  TestClient driver{Fd(ends[0])};
  const pid_t supervisor = fork();
  if (supervisor == 0) {
    driver.Close();
    SupervisorOptions options;
    options.pool.driver_fd = ends[1];
    options.pool.slots = 1;
    _exit(RunSupervisor(options));
  }
  close(ends[1]);
  const auto answer = driver.Attach(Role::kDriver);
  ASSERT_TRUE(answer && answer->kind() == Kind::kWelcome);
  driver.Send(Kind::kWant, wire::Want{{}, 1, 1000});
  ASSERT_TRUE(driver.Await(Kind::kOpenOut));
  kill(supervisor, SIGINT);  // Ctrl-C in the driver's terminal is not for the pool
  driver.Send(Kind::kDetach, Bare{}, 1);
  EXPECT_TRUE(driver.Await(Kind::kDone));
  int status = 0;
  EXPECT_EQ(waitpid(supervisor, &status, 0), supervisor);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

#if SHEAF_FAILPOINTS
// A pool that dies at any of its named steps takes its workers along, and its clients see the end of their sockets.
TEST(PoolDeath, AtEveryNamedStepLeavesNobodyBehind) {
  for (const char* step : {"pool.page.before_write", "pool.page.before_write=kill@5", "pool.gone.before_send",
                           "pool.pair.half_open", "pool.segment.before_answer"}) {
    const std::string armed = std::string("SHEAF_FP=") + step + (std::strchr(step, '=') ? "" : "=kill");
    PoolProcess pool({.environment = {armed}});
    TestClient driver = TestClient::Connect(pool.path());
    pid_t worker = 0;
    const auto answer = driver.Attach(Role::kDriver);
    if (answer && answer->kind() == Kind::kWelcome) {
      driver.Send(Kind::kWant, wire::Want{{}, 1, 1000});
      driver.Send(Kind::kMakeSegment, wire::MakeSegment{{}, wire::SegmentKind::kLarge, 0, 4096}, 3);
      if (const auto pair = driver.Await(Kind::kOpenOut)) {
        const std::uint32_t peer = pair->As<wire::OpenPair>().peer;
        worker = static_cast<pid_t>(driver.page().clients[peer & (limits::kClientsMax - 1)].pid.load());
        if (worker > 0) kill(worker, SIGKILL);
      }
    }
    EXPECT_TRUE(driver.AwaitClosed()) << step;
    EXPECT_EQ(pool.AwaitExit(), 1) << step;
    if (worker) {
      EXPECT_FALSE(ProcessExists(worker)) << step;
    }
  }
}

TEST(PoolDeath, IsNotCausedByAMachineWithoutMemory) {
  // Page, then control, slab and arena of the first spare set, then this segment.
  PoolProcess pool({.environment = {"SHEAF_FP=pool.segment.populate=error(28)@5"}});
  TestClient driver = TestClient::Connect(pool.path());
  ASSERT_TRUE(driver.Attach(Role::kDriver));
  bool refused = false;
  for (int i = 0; i < 5 && !refused; ++i) {
    const auto answer = driver.Make(wire::SegmentKind::kLarge, 4096);
    ASSERT_TRUE(answer);
    refused = answer->kind() == Kind::kRefused;
    if (refused) {
      EXPECT_EQ(answer->As<wire::Refused>().why, wire::Refusal::kOutOfMemory);
    }
  }
  EXPECT_EQ(driver.Make(wire::SegmentKind::kLarge, 4096)->kind(), Kind::kSegmentMade);
}

TEST(PoolDeath, IsNotCausedByWorkersThatCannotBeStarted) {
  PoolProcess pool({.environment = {"SHEAF_FP=pool.spawn=error(11)"}});
  TestClient driver = TestClient::Connect(pool.path());
  ASSERT_TRUE(driver.Attach(Role::kDriver));
  driver.Send(Kind::kWant, wire::Want{{}, 1, 1000});
  const auto refused = driver.Await(Kind::kRefused);
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->As<wire::Refused>().why, wire::Refusal::kSpawnFailed);
}
#endif

// The child writes what it finds about itself to its standard output.
TEST(ChildStart, GivesTheChildItsDescriptorsDirectoryAndSafety) {
  int out[2];
  ASSERT_EQ(pipe2(out, O_CLOEXEC), 0);
  Fd shell(open("/bin/sh", O_RDONLY | O_CLOEXEC));
  Fd leaked(open("/dev/null", O_RDONLY));  // not close-on-exec: must not arrive all the same
  ChildStart start;
  start.executable = shell.get();
  start.standard_output = out[1];
  start.socket = shell.get();
  start.directory = "/usr";
  start.arguments = {"sh", "-c", "pwd; echo $NAME; ls /proc/self/fd | wc -l; grep NoNewPrivs /proc/self/status"};
  start.environment = {"NAME=value", "PATH=/usr/bin:/bin"};
  int error = 0;
  const pid_t child = StartChild(start, &error);
  ASSERT_GT(child, 0) << error;
  close(out[1]);
  std::string text;
  char bytes[256];
  for (ssize_t got; (got = read(out[0], bytes, sizeof bytes)) > 0;) text.append(bytes, static_cast<std::size_t>(got));
  close(out[0]);
  waitpid(child, nullptr, 0);
  EXPECT_EQ(text, "/usr\nvalue\n5\nNoNewPrivs:\t1\n") << "0, 1, 2, 3 and the directory that ls itself opens";
}

TEST(ChildStart, SaysWhyItCouldNotStart) {
  Fd text(open("/etc/hostname", O_RDONLY | O_CLOEXEC));
  ChildStart start;
  start.executable = text.get();
  start.arguments = {"x"};
  int error = 0;
  EXPECT_EQ(StartChild(start, &error), -1);
  EXPECT_TRUE(error == EACCES || error == ENOEXEC) << error;
  while (waitpid(-1, nullptr, WNOHANG) > 0) {
  }
}

}  // namespace
}  // namespace sheaf::testing

int main(int argc, char** argv) {
  int exit_code = 0;
  if (sheaf::testing::RunTestRole(argc, argv, &exit_code)) return exit_code;
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
