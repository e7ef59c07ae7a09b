#include "cli/pool_client.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <thread>

#include "base/fd.h"
#include "proto/local_wire.h"

namespace sheaf::cli {
namespace {

using std::chrono::milliseconds;

// A listener that answers one connection with the given bytes, or closes it, or says nothing.
class PoolClientTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "/sheaf_ask_XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
    path_ = directory_ + "/s.sock";
  }
  void TearDown() override {
    if (thread_.joinable()) thread_.join();
    std::filesystem::remove_all(directory_);
  }

  void Listen(int type) {
    listener_ = Fd(socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path_.data(), path_.size());
    ASSERT_EQ(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    ASSERT_EQ(listen(listener_.get(), 4), 0);
  }
  void AnswerWith(std::string bytes) {
    Listen(SOCK_SEQPACKET);
    thread_ = std::thread([this, bytes] {
      const Fd peer(accept(listener_.get(), nullptr, nullptr));
      char question[256];
      EXPECT_EQ(recv(peer.get(), question, sizeof question, 0), static_cast<ssize_t>(sizeof(wire::Header)));
      if (!bytes.empty()) {
        EXPECT_EQ(send(peer.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
      }
    });
  }
  static std::string Packet(wire::Kind kind, const std::string& tail) {
    const wire::Header header{kind, static_cast<std::uint32_t>(sizeof header + tail.size()), 1};
    return std::string(reinterpret_cast<const char*>(&header), sizeof header) + tail;
  }

  std::string directory_, path_;
  Fd listener_;
  std::thread thread_;
};

TEST_F(PoolClientTest, ReadsAPoolsAnswer) {
  PoolView view;
  view.pool_id = "a";
  view.slots = 3;
  AnswerWith(Packet(wire::Kind::kStatusReply, ToJson(view)));
  const PoolAnswer answer = AskPool(path_, milliseconds(10'000));
  ASSERT_TRUE(answer.ok) << answer.reason;
  EXPECT_EQ(answer.view.slots, 3);
}

TEST_F(PoolClientTest, DoesNotBelieveGarbage) {
  AnswerWith("x");
  EXPECT_FALSE(AskPool(path_, milliseconds(10'000)).ok);
}

TEST_F(PoolClientTest, DoesNotBelieveAnAnswerThatIsNoView) {
  AnswerWith(Packet(wire::Kind::kStatusReply, "{\"schema\":\"other\"}"));
  const PoolAnswer answer = AskPool(path_, milliseconds(10'000));
  EXPECT_FALSE(answer.ok);
  EXPECT_TRUE(answer.foreign);
  EXPECT_NE(answer.reason.find("version"), std::string::npos) << answer.reason;
}

TEST_F(PoolClientTest, NoticesThatThePoolHangsUp) {
  AnswerWith("");
  const PoolAnswer answer = AskPool(path_, milliseconds(10'000));
  EXPECT_FALSE(answer.ok);
  EXPECT_FALSE(answer.timed_out);
}

TEST_F(PoolClientTest, GivesUpOnASilentPool) {
  Listen(SOCK_SEQPACKET);
  const PoolAnswer answer = AskPool(path_, milliseconds(50));
  EXPECT_FALSE(answer.ok);
  EXPECT_TRUE(answer.timed_out);
}

TEST_F(PoolClientTest, TellsPoolsFromSchedulersAndFromNobody) {
  std::string reason;
  EXPECT_EQ(Probe(path_, &reason), Listener::kNobody);
  EXPECT_EQ(ListenerPid(path_), 0);
  Listen(SOCK_STREAM);
  EXPECT_EQ(Probe(path_, &reason), Listener::kScheduler);
  EXPECT_EQ(ListenerPid(path_), getpid());
  std::filesystem::remove(path_);
  Listen(SOCK_SEQPACKET);
  EXPECT_EQ(Probe(path_, &reason), Listener::kPool);
  EXPECT_EQ(ListenerPid(path_), getpid());
  EXPECT_EQ(Probe("/" + std::string(200, 'x'), &reason), Listener::kNobody);
}

}  // namespace
}  // namespace sheaf::cli
