#include "scheduler/scheduler_service.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "scheduler/scheduler_client.h"
#include "tests/scheduler/memory_state.h"
#include "worker/scheduler_link.h"

namespace sheaf::scheduler {
namespace {

using std::chrono::milliseconds;
constexpr milliseconds kPatience{10'000};

// One life of a scheduler: loop, thread and door.
class Life {
 public:
  Life(const std::string& address, std::uint64_t epoch, std::string* reason) {
    SchedulerCore::Config config;
    config.cluster_id = "cluster";
    config.epoch = epoch;
    loop_ = std::make_unique<SchedulerLoop>(config, std::vector<PoolIdentity>{}, std::make_unique<MemoryState>(),
                                            ClusterView{}, [](const std::string&) {});
    service_ = SchedulerService::Open(ParseListenAddress(address), loop_.get(), reason);
    if (service_) {
      loop_->set_address(service_->address());
      thread_ = std::thread([this] { loop_->Run(); });
    }
  }
  ~Life() {
    loop_->Stop();
    if (thread_.joinable()) thread_.join();
    if (service_) service_->Close();
  }
  bool serves() const { return service_ != nullptr; }
  std::string address() const { return service_->address(); }

 private:
  std::unique_ptr<SchedulerLoop> loop_;
  std::unique_ptr<SchedulerService> service_;
  std::thread thread_;
};

class ServiceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "/sheaf_door_XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
    socket_ = directory_ + "/s.sock";
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  static RegisterArrived Register(const std::string& id) {
    RegisterArrived event;
    event.protocol = kProtocol;
    event.pool.pool_id = id;
    event.pool.incarnation = 3;
    event.pool.machine = "box";
    event.pool.pid = 77;
    event.load.slots = 2;
    event.load.budget_bytes = 1 << 20;
    return event;
  }

  std::string directory_, socket_, reason_;
};

// Asks until the view is as wanted: bounded, and no sleep between the calls that already take their time.
bool Eventually(SchedulerClient* client, const std::function<bool(const ClusterView&)>& wanted) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (std::chrono::steady_clock::now() < deadline) {
    ClusterView view;
    if (client->GetCluster(kPatience, &view).ok() && wanted(view)) return true;
    std::this_thread::yield();
  }
  return false;
}

TEST_F(ServiceTest, CarriesARegistrationAHeartbeatAndAView) {
  Life life(socket_, 4, &reason_);
  ASSERT_TRUE(life.serves()) << reason_;
  SchedulerClient client(ParseListenAddress(life.address()));
  RegisterResult joined;
  ASSERT_TRUE(client.Register(Register("a"), kPatience, &joined).ok());
  EXPECT_EQ(joined.verdict, Verdict::kOk);
  EXPECT_EQ(joined.cluster_id, "cluster");
  EXPECT_EQ(joined.epoch, 4u);
  EXPECT_GT(joined.heartbeat_interval_ms, 0u);

  HeartbeatArrived beat;
  beat.pool_id = "a";
  beat.incarnation = 3;
  beat.epoch = 4;
  beat.sequence = 1;
  beat.load.slots = 2;
  beat.load.tasks_executed = 123;
  HeartbeatResult heard;
  ASSERT_TRUE(client.Heartbeat(beat, kPatience, &heard).ok());
  EXPECT_EQ(heard.verdict, Verdict::kOk);

  ClusterView view;
  ASSERT_TRUE(client.GetCluster(kPatience, &view).ok());
  EXPECT_EQ(view.address, "unix:" + socket_);
  ASSERT_EQ(view.pools.size(), 1u);
  EXPECT_EQ(view.pools[0].pool, Register("a").pool);
  EXPECT_EQ(view.pools[0].load.tasks_executed, 123u);

  ASSERT_TRUE(client.Leave("a", 3, 4, kPatience).ok());
  ASSERT_TRUE(client.GetCluster(kPatience, &view).ok());
  EXPECT_EQ(view.pools.at(0).standing, Standing::kLeft);
}

TEST_F(ServiceTest, ShowsJobsAndGrantsToWhoeverAsksForThem) {
  Life life(socket_, 4, &reason_);
  ASSERT_TRUE(life.serves()) << reason_;
  SchedulerClient client(ParseListenAddress(life.address()));
  RegisterResult joined;
  RegisterArrived lender = Register("far");
  lender.offer.cpus_milli = 4000;
  lender.offer.address = "h:1";
  lender.offer.has.resources = {{"gpu", 2000}};
  lender.offer.has.labels = {"zone=x"};
  ASSERT_TRUE(client.Register(lender, kPatience, &joined).ok());
  ASSERT_TRUE(client.Register(Register("near"), kPatience, &joined).ok());
  HeartbeatArrived beat;
  beat.pool_id = "near";
  beat.incarnation = 3;
  beat.epoch = 4;
  beat.sequence = 1;
  LeaseWant want;
  want.job = 9;
  want.slots = 3;
  want.needs.resources = {{"gpu", 1000}};
  want.needs.labels = {"zone=x"};
  beat.report.wants = {want};
  HeartbeatResult answer;
  ASSERT_TRUE(client.Heartbeat(beat, kPatience, &answer).ok());
  ASSERT_EQ(answer.grants.size(), 1u);

  ClusterView view;
  ASSERT_TRUE(client.GetCluster(kPatience, &view).ok());
  EXPECT_FALSE(view.placement);
  EXPECT_TRUE(view.jobs.empty() && view.grants.empty());
  EXPECT_EQ(view.pools.at(0).offer, PoolOffer{});

  ASSERT_TRUE(client.GetCluster(kPatience, &view, true).ok());
  EXPECT_TRUE(view.placement);
  EXPECT_EQ(view.left_out, 0u);
  ASSERT_EQ(view.pools.size(), 2u);
  EXPECT_EQ(view.pools[0].offer, lender.offer);
  EXPECT_EQ(view.pools[0].lent_milli, 2000u);
  EXPECT_EQ(view.pools[0].lent, (Resources{{"gpu", 2000}}));
  ASSERT_EQ(view.jobs.size(), 1u);
  EXPECT_EQ(view.jobs[0].pool, "near");
  EXPECT_EQ(view.jobs[0].want, want);
  EXPECT_EQ(view.jobs[0].holds, 2u);
  ASSERT_EQ(view.grants.size(), 1u);
  EXPECT_EQ(view.grants[0].id, answer.grants[0].grant.id);
  EXPECT_EQ(view.grants[0].borrower, "near");
  EXPECT_EQ(view.grants[0].borrower_incarnation, 3u);
  EXPECT_EQ(view.grants[0].job, 9u);
  EXPECT_EQ(view.grants[0].lender, "far");
  EXPECT_EQ(view.grants[0].slots, 2u);
}

TEST_F(ServiceTest, MakesItsSocketForThisUserOnlyAndRemovesItAtTheEnd) {
  {
    Life life(socket_, 1, &reason_);
    ASSERT_TRUE(life.serves()) << reason_;
    struct stat info{};
    ASSERT_EQ(stat(socket_.c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0600u);
  }
  EXPECT_FALSE(std::filesystem::exists(socket_));
}

TEST_F(ServiceTest, DoesNotTakeTheSocketOfALivingScheduler) {
  Life first(socket_, 1, &reason_);
  ASSERT_TRUE(first.serves()) << reason_;
  Life second(socket_, 1, &reason_);
  EXPECT_FALSE(second.serves());
  EXPECT_NE(reason_.find("another scheduler"), std::string::npos) << reason_;
  SchedulerClient client(ParseListenAddress(first.address()));
  ClusterView view;
  EXPECT_TRUE(client.GetCluster(kPatience, &view).ok());
}

TEST_F(ServiceTest, TakesTheSocketThatAKilledSchedulerLeft) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, socket_.data(), socket_.size());
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  close(fd);  // bound, and nobody listens
  Life life(socket_, 1, &reason_);
  EXPECT_TRUE(life.serves()) << reason_;
}

TEST_F(ServiceTest, DoesNotRemoveAFileThatIsNoSocket) {
  {
    std::ofstream(socket_) << "precious";
  }
  Life life(socket_, 1, &reason_);
  EXPECT_FALSE(life.serves());
  EXPECT_EQ(std::filesystem::file_size(socket_), 8u);
}

TEST_F(ServiceTest, ChoosesAPortAndDoesNotShareIt) {
  Life first("127.0.0.1:0", 1, &reason_);
  ASSERT_TRUE(first.serves()) << reason_;
  EXPECT_NE(first.address(), "127.0.0.1:0");
  Life second(first.address(), 1, &reason_);
  EXPECT_FALSE(second.serves());
}

TEST_F(ServiceTest, TellsAnAbsentSchedulerFromASilentOne) {
  SchedulerClient nobody(ParseListenAddress(socket_));
  ClusterView view;
  EXPECT_EQ(nobody.GetCluster(kPatience, &view).kind, CallStatus::Kind::kUnreachable);

  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, socket_.data(), socket_.size());
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(listen(fd, 4), 0);
  SchedulerClient silent(ParseListenAddress(socket_));
  const CallStatus status = silent.GetCluster(milliseconds(300), &view);
  EXPECT_FALSE(status.ok());
  close(fd);
}

TEST_F(ServiceTest, SurvivesGarbageOnItsSocket) {
  Life life(socket_, 1, &reason_);
  ASSERT_TRUE(life.serves()) << reason_;
  for (int i = 0; i < 20; ++i) {
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, socket_.data(), socket_.size());
    ASSERT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    std::string garbage = i % 2 ? "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" : "";
    for (int k = 0; k < 4000; ++k) garbage += static_cast<char>((k * 31 + i * 7) & 0xff);
    EXPECT_GT(send(fd, garbage.data(), garbage.size(), MSG_NOSIGNAL), 0);
    close(fd);
  }
  SchedulerClient client(ParseListenAddress(life.address()));
  ClusterView view;
  EXPECT_TRUE(client.GetCluster(kPatience, &view).ok());
}

PoolView View(std::uint64_t executed) {
  PoolView view;
  view.pool_id = "box-1";
  view.incarnation = 9;
  view.pid = 11;
  view.machine = "box";
  view.address = "/run/box.sock";
  view.slots = 2;
  view.tasks_executed = executed;
  return view;
}

TEST_F(ServiceTest, APoolsLinkJoinsReportsComesBackAfterARestartAndLeaves) {
  auto life = std::make_unique<Life>(socket_, 1, &reason_);
  ASSERT_TRUE(life->serves()) << reason_;
  worker::SchedulerLink link(ParseListenAddress(socket_), "0.1.0", [](const std::string&) {});
  link.Publish(View(5));
  const auto alive = [](const ClusterView& view, std::uint64_t executed) {
    return view.pools.size() == 1 && view.pools[0].standing == Standing::kAlive &&
           view.pools[0].pool.incarnation == 9 && view.pools[0].load.tasks_executed == executed;
  };
  {
    SchedulerClient client(ParseListenAddress(socket_));
    ASSERT_TRUE(Eventually(&client, [&](const ClusterView& view) { return alive(view, 5); }));
    link.Publish(View(6));
    ASSERT_TRUE(Eventually(&client, [&](const ClusterView& view) { return alive(view, 6); }));
  }
  life.reset();
  life = std::make_unique<Life>(socket_, 2, &reason_);
  ASSERT_TRUE(life->serves()) << reason_;
  SchedulerClient client(ParseListenAddress(socket_));
  ASSERT_TRUE(Eventually(&client, [&](const ClusterView& view) { return alive(view, 6); }));
  link.Stop();
  ClusterView view;
  ASSERT_TRUE(client.GetCluster(kPatience, &view).ok());
  EXPECT_EQ(view.pools.at(0).standing, Standing::kLeft);
}

TEST_F(ServiceTest, APoolsLinkStopsInTimeWithoutAScheduler) {
  const auto begin = std::chrono::steady_clock::now();
  {
    worker::SchedulerLink link(ParseListenAddress(socket_), "0.1.0", [](const std::string&) {});
    link.Publish(View(1));
  }
  {
    worker::SchedulerLink never(ParseListenAddress(socket_), "0.1.0", [](const std::string&) {});
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
}

}  // namespace
}  // namespace sheaf::scheduler
