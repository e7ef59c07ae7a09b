// Every method of every service, called with every kind of credential: what the table allows gets through, nothing else.
#include <google/protobuf/descriptor.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/unix_time.h"
#include "proto/admin.pb.h"
#include "proto/membership.pb.h"
#include "proto/scheduler.pb.h"
#include "proto/view.pb.h"
#include "scheduler/access.h"
#include "scheduler/join_tokens.h"
#include "scheduler/scheduler_client.h"
#include "scheduler/scheduler_service.h"
#include "scheduler/ticket.h"
#include "tests/scheduler/memory_state.h"

namespace sheaf::scheduler {
namespace {

Credentials Make(const Authority& authority, const Identity& who, std::int64_t seconds = 3600) {
  Credentials made;
  made.key = NewKey();
  made.certificate = *Sign(authority, NewRequest(made.key), who, seconds);
  made.authority = authority.certificate;
  return made;
}

class AccessTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "/sheaf_access_XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
    security_.cluster = "c";
    security_.authority = NewAuthority("c");
    security_.own = Make(security_.authority, {"c", "scheduler", "1"});
    security_.tokens = directory_ + "/tokens";
    SchedulerCore::Config config;
    config.cluster_id = "c";
    loop_ = std::make_unique<SchedulerLoop>(config, std::vector<PoolIdentity>{}, std::make_unique<MemoryState>(),
                                            ClusterView{}, [](const std::string&) {});
    loop_->set_secret("secret");
    std::string reason;
    service_ = SchedulerService::Open(ParseListenAddress("127.0.0.1:0"), loop_.get(), &reason, &security_);
    ASSERT_NE(service_, nullptr) << reason;
    thread_ = std::thread([this] { loop_->Run(); });
  }
  void TearDown() override {
    loop_->Stop();
    thread_.join();
    service_->Close();
    std::filesystem::remove_all(directory_);
  }

  std::shared_ptr<grpc::Channel> ChannelAs(const Credentials& who) {
    grpc::SslCredentialsOptions options{security_.authority.certificate, who.key, who.certificate};
    grpc::ChannelArguments arguments;
    arguments.SetSslTargetNameOverride(ServerName("c"));
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::CreateCustomChannel(service_->address(), grpc::SslCredentials(options), arguments);
  }
  // The status of a call with an empty message.
  grpc::Status Call(const std::shared_ptr<grpc::Channel>& channel, const std::string& method) {
    grpc::GenericStub stub(channel);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(5));
    grpc::CompletionQueue queue;
    grpc::ByteBuffer request, reply;
    const grpc::Slice nothing;
    request = grpc::ByteBuffer(&nothing, 1);
    const auto call = stub.PrepareUnaryCall(&context, method, request, &queue);
    call->StartCall();
    grpc::Status status;
    void* tag = nullptr;
    bool ok = false;
    call->Finish(&reply, &status, this);
    queue.Next(&tag, &ok);
    return status;
  }
  static std::vector<std::string> Methods() {
    std::vector<std::string> methods;
    for (const auto* file : {v1::RegisterRequest::descriptor()->file(), v1::GetClusterRequest::descriptor()->file(),
                             v1::JoinRequest::descriptor()->file(), v1::DrainRequest::descriptor()->file()}) {
      for (int s = 0; s < file->service_count(); ++s)
        for (int m = 0; m < file->service(s)->method_count(); ++m)
          methods.push_back("/" + file->service(s)->full_name() + "/" + file->service(s)->method(m)->name());
    }
    return methods;
  }

  std::string directory_;
  Security security_;
  std::unique_ptr<SchedulerLoop> loop_;
  std::unique_ptr<SchedulerService> service_;
  std::thread thread_;
};

TEST_F(AccessTest, EveryMethodHasARule) {
  EXPECT_EQ(Methods().size(), kAccess.size());
  for (const std::string& method : Methods()) {
    const bool known =
        std::any_of(kAccess.begin(), kAccess.end(), [&](const auto& rule) { return rule.method == method; });
    EXPECT_TRUE(known) << method << " is in no rule: nobody may call it";
  }
}

TEST_F(AccessTest, EveryMethodTakesTheCredentialsOfItsRuleAndNoOthers) {
  const Authority foreign = NewAuthority("c");  // of the same name, even
  struct Kind {
    std::string name;
    Credentials who;
    Caller caller;
    bool shakes_hands;
  };
  const std::vector<Kind> kinds = {
      {"stranger", {}, Caller::kStranger, true},
      {"pool", Make(security_.authority, {"c", "pool", "p1"}), Caller::kPool, true},
      {"admin", Make(security_.authority, {"c", "admin", "1"}), Caller::kAdmin, true},
      {"another cluster's identity", Make(security_.authority, {"d", "pool", "p1"}), Caller::kStranger, true},
      {"an unknown role", Make(security_.authority, {"c", "god", "p1"}), Caller::kStranger, true},
      {"expired", Make(security_.authority, {"c", "pool", "p1"}, -10), Caller::kStranger, false},
      {"another authority's", Make(foreign, {"c", "pool", "p1"}), Caller::kStranger, false},
  };
  for (const Kind& kind : kinds) {
    const auto channel = ChannelAs(kind.who);
    for (std::string method : Methods()) {
      const grpc::Status status = Call(channel, method);
      SCOPED_TRACE(kind.name + " calls " + method + ": " + status.error_message());
      if (!kind.shakes_hands) {
        EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
      } else if (!MayCall(kind.caller, method)) {
        EXPECT_TRUE(status.error_code() == grpc::StatusCode::UNAUTHENTICATED ||
                    status.error_code() == grpc::StatusCode::PERMISSION_DENIED);
      } else {
        EXPECT_EQ(status.error_message().find("does not allow"), std::string::npos);
        EXPECT_NE(status.error_code(), grpc::StatusCode::UNAVAILABLE);
      }
    }
    EXPECT_NE(Call(channel, "/sheaf.v1.Scheduler/NoSuchMethod").error_code(), grpc::StatusCode::OK);
  }
  // In the clear.
  const auto plain = grpc::CreateChannel(service_->address(), grpc::InsecureChannelCredentials());
  for (const std::string& method : Methods()) EXPECT_FALSE(Call(plain, method).ok()) << method;
}

TEST_F(AccessTest, APoolSpeaksForItselfAlone) {
  const Credentials own = Make(security_.authority, {"c", "pool", "p1"});
  SchedulerClient client(ParseListenAddress(service_->address()), &own);
  RegisterArrived event;
  event.protocol = kProtocol;
  event.pool.pool_id = "p2";
  event.pool.incarnation = 1;
  RegisterResult result;
  EXPECT_FALSE(client.Register(event, std::chrono::seconds(5), &result).ok());
  event.pool.pool_id = "p1";
  EXPECT_TRUE(client.Register(event, std::chrono::seconds(5), &result).ok());
  EXPECT_EQ(result.verdict, Verdict::kOk);
  EXPECT_EQ(result.lender_key, LenderKey("secret", "p1", 1));
}

TEST_F(AccessTest, ATokenLetsOneMachineJoinOnce) {
  std::string why;
  Invitation invitation{service_->address(), NewToken(security_.tokens, UnixSeconds(), 60, &why),
                        security_.authority.certificate};
  Credentials own;
  ASSERT_TRUE(SchedulerClient::Join(invitation, "p1", std::chrono::seconds(5), &own).ok());
  EXPECT_EQ(IdentityIn(own.certificate), (Identity{"c", "pool", "p1"}));
  // Replayed, wrong, expired, not a token: refused, and no certificate.
  Credentials none;
  EXPECT_FALSE(SchedulerClient::Join(invitation, "p1", std::chrono::seconds(5), &none).ok());
  invitation.token = NewToken(security_.tokens, UnixSeconds(), -5, &why);
  EXPECT_FALSE(SchedulerClient::Join(invitation, "p1", std::chrono::seconds(5), &none).ok());
  invitation.token = NewToken(security_.tokens, UnixSeconds(), 60, &why);
  std::string wrong = invitation.token;
  wrong.back() = wrong.back() == '0' ? '1' : '0';
  for (const std::string& token : {wrong, std::string("../../etc/passwd"), std::string()}) {
    Invitation bad = invitation;
    bad.token = token;
    EXPECT_FALSE(SchedulerClient::Join(bad, "p1", std::chrono::seconds(5), &none).ok()) << token;
  }
  EXPECT_FALSE(SchedulerClient::Join(invitation, "p 1,DNS:x", std::chrono::seconds(5), &none).ok());
  EXPECT_FALSE(none.ok());
  EXPECT_TRUE(SchedulerClient::Join(invitation, "p2", std::chrono::seconds(5), &none).ok()) << "it is still good";
}

TEST_F(AccessTest, AMemberRenewsItsCertificateWithAnotherKey) {
  Credentials own = Make(security_.authority, {"c", "pool", "p1"});
  const Credentials before = own;
  SchedulerClient client(ParseListenAddress(service_->address()), &own);
  ASSERT_TRUE(client.Renew(std::chrono::seconds(5), &own).ok());
  EXPECT_NE(own.key, before.key);
  EXPECT_EQ(IdentityIn(own.certificate), (Identity{"c", "pool", "p1"}));
  EXPECT_GT(SecondsLeft(own.certificate), SecondsLeft(before.certificate));
}

TEST_F(AccessTest, WhoeverPretendsToBeTheSchedulerIsNotTrusted) {
  std::string why;
  const Authority foreign = NewAuthority("c");
  Invitation invitation{service_->address(), NewToken(security_.tokens, UnixSeconds(), 60, &why), foreign.certificate};
  Credentials own;
  EXPECT_FALSE(SchedulerClient::Join(invitation, "p1", std::chrono::seconds(5), &own).ok());
  Invitation parsed;
  std::string text = FormatInvitation(invitation);
  EXPECT_TRUE(ParseInvitation(text, &parsed, &why));
  text.replace(text.find("-----BEGIN"), std::string::npos, security_.authority.certificate);
  EXPECT_FALSE(ParseInvitation(text, &parsed, &why)) << "another certificate under the old fingerprint";
}

TEST(Ticket, SaysWhatWasSignedAndNothingElse) {
  const Ticket ticket{"c", "far", "near", 3, 7, 9, 1, 2, 1000, 2'000'000'000};
  const std::string key = LenderKey("secret", "far", 9), text = SignTicket(key, ticket);
  std::string why;
  EXPECT_EQ(OpenTicket(key, text, &why), ticket);
  EXPECT_FALSE(OpenTicket(LenderKey("secret", "far", 10), text, &why)) << "another life of the lender";
  EXPECT_FALSE(OpenTicket(LenderKey("secret", "near", 9), text, &why)) << "another pool";
  EXPECT_FALSE(OpenTicket(LenderKey("other", "far", 9), text, &why)) << "another cluster";
  EXPECT_FALSE(OpenTicket("", text, &why));
  for (std::size_t i = 0; i < text.size(); ++i) {
    std::string changed = text;
    changed[i] = changed[i] == '1' ? '2' : '1';
    EXPECT_FALSE(OpenTicket(key, changed, &why)) << i;
    EXPECT_FALSE(OpenTicket(key, text.substr(0, i), &why)) << i;
  }
  EXPECT_EQ(why.find(key), std::string::npos);
}

TEST(Ticket, OfACreditIsNoTicketOfAGrant) {
  Ticket ticket{"c", "far", "near", 3, 7, 9, 1, 2, 1000, 2'000'000'000};
  const std::string plain = SignTicket("key", ticket);
  ticket.credit = true;
  std::string text = SignTicket("key", ticket), why;
  EXPECT_EQ(OpenTicket("key", text, &why), ticket);
  text.replace(0, text.find(' '), plain.substr(0, plain.find(' ')));
  EXPECT_FALSE(OpenTicket("key", text, &why)) << "nor can it be made one";
}

}  // namespace
}  // namespace sheaf::scheduler
