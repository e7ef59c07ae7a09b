#include "scheduler/scheduler_service.h"

#include <grpcpp/grpcpp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "base/unix_time.h"
#include "proto/admin.grpc.pb.h"
#include "proto/scheduler.grpc.pb.h"
#include "proto/view.grpc.pb.h"
#include "scheduler/membership_service.h"
#include "scheduler/messages.h"
#include "scheduler/ticket.h"

namespace sheaf::scheduler {
namespace {

constexpr int kRequestBytesMax = 1024 * 1024;  // 256 wants and 1,024 grants with long names
constexpr std::int64_t kTicketSeconds = 300;   // to use it for the first time; clocks of machines differ
constexpr Time kHeartbeatLongest = 1'000'000'000;

class Door final : public v1::Scheduler::CallbackService {
 public:
  explicit Door(SchedulerLoop* loop) : loop_(loop) {}

  grpc::ServerUnaryReactor* Register(grpc::CallbackServerContext* context, const v1::RegisterRequest* request,
                                     v1::RegisterReply* reply) override {
    if (!SpeaksFor(*context, loop_->config().cluster_id, request->pool().pool_id())) return Deny(context);
    RegisterArrived event;
    event.protocol = request->protocol();
    event.pool = FromMessage(request->pool());
    event.load = FromMessage(request->load());
    event.cluster_id_seen = request->cluster_id_seen();
    event.epoch_seen = request->epoch_seen();
    event.offer = FromMessage(request->offer());
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    const std::string pool = event.pool.pool_id;
    const std::uint64_t incarnation = event.pool.incarnation;
    loop_->Ask(std::move(event), [this, reactor, reply, pool, incarnation](const SchedulerLoop::Answer& answer) {
      const SchedulerCore::Config& config = loop_->config();
      reply->set_verdict(ToMessage(answer.verdict));
      reply->set_reason(answer.reason);
      reply->set_cluster_id(config.cluster_id);
      reply->set_epoch(config.epoch);
      // Three heartbeats may get lost before a pool does.
      const Time interval = std::min(config.limits.lost_after / 4, kHeartbeatLongest);
      reply->set_heartbeat_interval_ms(static_cast<std::uint32_t>(interval / 1'000'000));
      reply->set_lost_after_ms(static_cast<std::uint32_t>(config.limits.lost_after / 1'000'000));
      if (answer.verdict == Verdict::kOk) reply->set_lender_key(LenderKey(loop_->secret(), pool, incarnation));
      reactor->Finish(grpc::Status::OK);
    });
    return reactor;
  }

  grpc::ServerUnaryReactor* Heartbeat(grpc::CallbackServerContext* context, const v1::HeartbeatRequest* request,
                                      v1::HeartbeatReply* reply) override {
    if (!SpeaksFor(*context, loop_->config().cluster_id, request->pool_id())) return Deny(context);
    HeartbeatArrived event;
    event.pool_id = request->pool_id();
    event.incarnation = request->incarnation();
    event.epoch = request->epoch();
    event.sequence = request->sequence();
    event.load = FromMessage(request->load());
    event.report.own_milli = request->own_milli();
    event.report.own = AmountsOf(request->own_resources());
    for (const v1::LeaseWant& want : request->wants()) event.report.wants.push_back(FromMessage(want));
    for (const v1::Grant& grant : request->held()) event.report.held.push_back(FromMessage(grant));
    event.report.parked.assign(request->parked().begin(), request->parked().end());
    event.report.begun.assign(request->begun().begin(), request->begun().end());
    const std::string pool = event.pool_id;
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    loop_->Ask(std::move(event), [this, reactor, reply, pool](const SchedulerLoop::Answer& answer) {
      reply->set_verdict(ToMessage(answer.verdict));
      reply->set_reason(answer.reason);
      reply->set_epoch(loop_->config().epoch);
      for (const GrantInfo& grant : answer.grants) {
        v1::Grant* message = reply->add_grants();
        *message = ToMessage(grant);
        message->set_ticket(TicketFor(grant, pool, false));
      }
      for (const CreditInfo& credit : answer.credits) {
        v1::Credit* message = reply->add_credits();
        message->set_parked(credit.parked);
        *message->mutable_grant() = ToMessage(credit.grant);
        message->mutable_grant()->set_ticket(TicketFor(credit.grant, pool, true));
      }
      for (const std::uint64_t job : answer.infeasible) reply->add_infeasible(job);
      for (const std::uint64_t grant : answer.voided) reply->add_voided(grant);
      reply->set_drain(answer.drain);
      reactor->Finish(grpc::Status::OK);
    });
    return reactor;
  }

  grpc::ServerUnaryReactor* Leave(grpc::CallbackServerContext* context, const v1::LeaveRequest* request,
                                  v1::LeaveReply* reply) override {
    if (!SpeaksFor(*context, loop_->config().cluster_id, request->pool_id())) return Deny(context);
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    loop_->Ask(LeaveArrived{0, request->pool_id(), request->incarnation()},
               [reactor, reply](const SchedulerLoop::Answer& answer) {
                 reply->set_verdict(ToMessage(answer.verdict));
                 reactor->Finish(grpc::Status::OK);
               });
    return reactor;
  }

 private:
  static grpc::ServerUnaryReactor* Deny(grpc::CallbackServerContext* context) {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish({grpc::StatusCode::PERMISSION_DENIED, "this certificate is another pool's"});
    return reactor;
  }

  std::string TicketFor(const GrantInfo& grant, const std::string& borrower, bool credit) const {
    const SchedulerCore::Config& config = loop_->config();
    Ticket ticket;
    ticket.cluster = config.cluster_id;
    ticket.lender = grant.lender;
    ticket.borrower = borrower;
    ticket.epoch = config.epoch;
    ticket.grant = grant.id;
    ticket.lender_incarnation = grant.lender_incarnation;
    ticket.job = grant.job;
    ticket.slots = grant.slots;
    ticket.cpus_milli = grant.cpus_milli;
    ticket.expires = UnixSeconds() + kTicketSeconds;
    ticket.credit = credit;
    return SignTicket(LenderKey(loop_->secret(), grant.lender, grant.lender_incarnation), ticket);
  }

  SchedulerLoop* loop_;
};

class Window final : public v1::View::CallbackService {
 public:
  explicit Window(SchedulerLoop* loop) : loop_(loop) {}

  grpc::ServerUnaryReactor* GetCluster(grpc::CallbackServerContext* context, const v1::GetClusterRequest* request,
                                       v1::ClusterView* reply) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    loop_->AskView(
        [reactor, reply](const ClusterView* view) {
          if (view == nullptr) {
            reactor->Finish({grpc::StatusCode::RESOURCE_EXHAUSTED, "the scheduler's inbox is full"});
            return;
          }
          *reply = ToMessage(*view);
          reactor->Finish(grpc::Status::OK);
        },
        request->placement());
    return reactor;
  }

 private:
  SchedulerLoop* loop_;
};

class Office final : public v1::Admin::CallbackService {
 public:
  explicit Office(SchedulerLoop* loop) : loop_(loop) {}

  grpc::ServerUnaryReactor* Drain(grpc::CallbackServerContext* context, const v1::DrainRequest* request,
                                  v1::DrainReply* reply) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    loop_->Ask(DrainAsked{0, request->pool_id()}, [reactor, reply](const SchedulerLoop::Answer& answer) {
      reply->set_found(answer.verdict == Verdict::kOk);
      reactor->Finish(answer.verdict == Verdict::kUnavailable
                          ? grpc::Status(grpc::StatusCode::UNAVAILABLE, answer.reason)
                          : grpc::Status::OK);
    });
    return reactor;
  }

 private:
  SchedulerLoop* loop_;
};

// gRPC unlinks whatever socket it finds at the path. So ask first whether somebody lives there.
bool SomebodyListens(const std::string& path) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  const bool taken = connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  close(fd);
  return taken;
}

class GrpcService final : public SchedulerService {
 public:
  GrpcService(ListenAddress listen, SchedulerLoop* loop, const Security* security)
      : listen_(std::move(listen)), security_(security), door_(loop), window_(loop), office_(loop), desk_(security) {}
  ~GrpcService() override { Close(); }

  bool Start(std::string* reason) {
    struct stat info{};
    if (!listen_.unix_path.empty() && lstat(listen_.unix_path.c_str(), &info) == 0) {
      if (!S_ISSOCK(info.st_mode)) {
        *reason = listen_.unix_path + " exists and is not a socket";
        return false;
      }
      if (SomebodyListens(listen_.unix_path)) {
        *reason = "another scheduler listens on " + listen_.unix_path +
                  "; see `sheaf status`, or use --listen with another path";
        return false;
      }
    }
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort(listen_.grpc,
                             security_ ? GuardedCredentials(*security_) : grpc::InsecureServerCredentials(), &port);
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);  // else two schedulers share a port
    builder.SetMaxReceiveMessageSize(kRequestBytesMax);
    builder.RegisterService(&door_);
    builder.RegisterService(&window_);
    builder.RegisterService(&office_);
    builder.RegisterService(&desk_);
    const mode_t before = umask(0177);  // the socket is this user's alone
    server_ = builder.BuildAndStart();
    umask(before);
    if (!server_ || port <= 0) {
      *reason = "cannot listen on " + listen_.grpc + ": the address is in use or not permitted";
      return false;
    }
    if (listen_.unix_path.empty()) listen_.grpc = listen_.host + ":" + std::to_string(port);
    return true;
  }

  std::string address() const override { return listen_.grpc; }

  void Close() override {
    if (!server_) return;
    server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(1));
    server_->Wait();
    server_.reset();
    if (!listen_.unix_path.empty()) unlink(listen_.unix_path.c_str());
  }

 private:
  ListenAddress listen_;
  const Security* security_;
  Door door_;
  Window window_;
  Office office_;
  MembershipDesk desk_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace

std::unique_ptr<SchedulerService> SchedulerService::Open(const ListenAddress& listen, SchedulerLoop* loop,
                                                         std::string* reason, const Security* security) {
  if (listen.fault != ListenAddress::Fault::kNone && !security) {
    *reason = listen.reason;
    return nullptr;
  }
  auto service = std::make_unique<GrpcService>(listen, loop, security);
  if (!service->Start(reason)) return nullptr;
  return service;
}

}  // namespace sheaf::scheduler
