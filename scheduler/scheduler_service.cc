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

#include "proto/scheduler.grpc.pb.h"
#include "proto/view.grpc.pb.h"
#include "scheduler/messages.h"

namespace sheaf::scheduler {
namespace {

constexpr int kRequestBytesMax = 64 * 1024;
constexpr Time kHeartbeatLongest = 1'000'000'000;

class Door final : public v1::Scheduler::CallbackService {
 public:
  explicit Door(SchedulerLoop* loop) : loop_(loop) {}

  grpc::ServerUnaryReactor* Register(grpc::CallbackServerContext* context, const v1::RegisterRequest* request,
                                     v1::RegisterReply* reply) override {
    RegisterArrived event;
    event.protocol = request->protocol();
    event.pool = FromMessage(request->pool());
    event.load = FromMessage(request->load());
    event.cluster_id_seen = request->cluster_id_seen();
    event.epoch_seen = request->epoch_seen();
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    loop_->Ask(std::move(event), [this, reactor, reply](const SchedulerLoop::Answer& answer) {
      const SchedulerCore::Config& config = loop_->config();
      reply->set_verdict(ToMessage(answer.verdict));
      reply->set_reason(answer.reason);
      reply->set_cluster_id(config.cluster_id);
      reply->set_epoch(config.epoch);
      // Three heartbeats may get lost before a pool does.
      const Time interval = std::min(config.limits.lost_after / 4, kHeartbeatLongest);
      reply->set_heartbeat_interval_ms(static_cast<std::uint32_t>(interval / 1'000'000));
      reply->set_lost_after_ms(static_cast<std::uint32_t>(config.limits.lost_after / 1'000'000));
      reactor->Finish(grpc::Status::OK);
    });
    return reactor;
  }

  grpc::ServerUnaryReactor* Heartbeat(grpc::CallbackServerContext* context, const v1::HeartbeatRequest* request,
                                      v1::HeartbeatReply* reply) override {
    HeartbeatArrived event;
    event.pool_id = request->pool_id();
    event.incarnation = request->incarnation();
    event.epoch = request->epoch();
    event.sequence = request->sequence();
    event.load = FromMessage(request->load());
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    loop_->Ask(std::move(event), [this, reactor, reply](const SchedulerLoop::Answer& answer) {
      reply->set_verdict(ToMessage(answer.verdict));
      reply->set_reason(answer.reason);
      reply->set_epoch(loop_->config().epoch);
      reactor->Finish(grpc::Status::OK);
    });
    return reactor;
  }

  grpc::ServerUnaryReactor* Leave(grpc::CallbackServerContext* context, const v1::LeaveRequest* request,
                                  v1::LeaveReply* reply) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    loop_->Ask(LeaveArrived{0, request->pool_id(), request->incarnation()},
               [reactor, reply](const SchedulerLoop::Answer& answer) {
                 reply->set_verdict(ToMessage(answer.verdict));
                 reactor->Finish(grpc::Status::OK);
               });
    return reactor;
  }

 private:
  SchedulerLoop* loop_;
};

class Window final : public v1::View::CallbackService {
 public:
  explicit Window(SchedulerLoop* loop) : loop_(loop) {}

  grpc::ServerUnaryReactor* GetCluster(grpc::CallbackServerContext* context, const v1::GetClusterRequest*,
                                       v1::ClusterView* reply) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    loop_->AskView([reactor, reply](const ClusterView* view) {
      if (view == nullptr) {
        reactor->Finish({grpc::StatusCode::RESOURCE_EXHAUSTED, "the scheduler's inbox is full"});
        return;
      }
      *reply = ToMessage(*view);
      reactor->Finish(grpc::Status::OK);
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
  GrpcService(ListenAddress listen, SchedulerLoop* loop) : listen_(std::move(listen)), door_(loop), window_(loop) {}
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
    builder.AddListeningPort(listen_.grpc, grpc::InsecureServerCredentials(), &port);
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);  // else two schedulers share a port
    builder.SetMaxReceiveMessageSize(kRequestBytesMax);
    builder.RegisterService(&door_);
    builder.RegisterService(&window_);
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
  Door door_;
  Window window_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace

std::unique_ptr<SchedulerService> SchedulerService::Open(const ListenAddress& listen, SchedulerLoop* loop,
                                                         std::string* reason) {
  auto service = std::make_unique<GrpcService>(listen, loop);
  if (!service->Start(reason)) return nullptr;
  return service;
}

}  // namespace sheaf::scheduler
