#include "scheduler/listen_address.h"

#include <gtest/gtest.h>

#include <string>

namespace sheaf::scheduler {
namespace {

using Fault = ListenAddress::Fault;

TEST(ListenAddress, TakesAUnixSocketInThreeSpellings) {
  for (const char* text : {"/run/s.sock", "unix:/run/s.sock", "unix:///run/s.sock"}) {
    const ListenAddress address = ParseListenAddress(text);
    EXPECT_EQ(address.fault, Fault::kNone) << text;
    EXPECT_EQ(address.unix_path, "/run/s.sock") << text;
    EXPECT_EQ(address.grpc, "unix:/run/s.sock") << text;
  }
}

TEST(ListenAddress, TakesTheLoopbackInterface) {
  EXPECT_EQ(ParseListenAddress("127.0.0.1:7400").grpc, "127.0.0.1:7400");
  EXPECT_EQ(ParseListenAddress("127.3.2.1:0").grpc, "127.3.2.1:0");
  EXPECT_EQ(ParseListenAddress("localhost:80").grpc, "127.0.0.1:80");
  EXPECT_EQ(ParseListenAddress("[::1]:80").grpc, "[::1]:80");
}

TEST(ListenAddress, RefusesWhatOtherMachinesCanReachAndSaysWhy) {
  for (const char* text : {"0.0.0.0:7400", "192.168.1.2:7400", "[::]:7400", "example.org:7400", ":7400", "128.0.0.1:1",
                           "[::ffff:127.0.0.1]:1"}) {
    const ListenAddress address = ParseListenAddress(text);
    EXPECT_EQ(address.fault, Fault::kNotLocal) << text;
    EXPECT_NE(address.reason.find("encryption"), std::string::npos) << address.reason;
    EXPECT_NE(address.grpc, "") << text;  // for those who have credentials
  }
}

TEST(ListenAddress, RefusesWhatIsNoAddress) {
  for (const char* text : {"", "nonsense", "unix:", "unix:relative.sock", "127.0.0.1:", "127.0.0.1:x",
                           "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:80 "}) {
    EXPECT_EQ(ParseListenAddress(text).fault, Fault::kMalformed) << text;
  }
}

TEST(ListenAddress, RefusesAPathThatNoSocketCanHave) {
  const std::string longest = "/" + std::string(106, 'x');
  EXPECT_EQ(ParseListenAddress(longest).fault, Fault::kNone);
  EXPECT_EQ(ParseListenAddress(longest + "x").fault, Fault::kMalformed);
}

}  // namespace
}  // namespace sheaf::scheduler
