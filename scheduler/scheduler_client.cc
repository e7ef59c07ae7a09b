#include "scheduler/scheduler_client.h"

#include <grpcpp/grpcpp.h>

#include <mutex>

#include "proto/scheduler.grpc.pb.h"
#include "proto/view.grpc.pb.h"
#include "scheduler/messages.h"

namespace sheaf::scheduler {
namespace {

constexpr int kReplyBytesMax = 8 * 1024 * 1024;  // 1024 pools with long names stay far below

std::shared_ptr<grpc::Channel> MakeChannel(const ListenAddress& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);  // http_proxy must not see loopback traffic
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  // The caller does its own backing off; gRPC's would delay a reconnect by up to two minutes.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 20);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 500);
  arguments.SetMaxReceiveMessageSize(kReplyBytesMax);
  return grpc::CreateCustomChannel(address.grpc, grpc::InsecureChannelCredentials(), arguments);
}

CallStatus FromGrpc(const grpc::Status& status, const std::string& where) {
  using Kind = CallStatus::Kind;
  switch (status.error_code()) {
    case grpc::StatusCode::OK:
      return {};
    case grpc::StatusCode::UNAVAILABLE:
      return {Kind::kUnreachable, "no scheduler answers at " + where + ": " + status.error_message()};
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return {Kind::kTimeout, "the scheduler at " + where + " did not answer in time"};
    case grpc::StatusCode::UNIMPLEMENTED:
      return {Kind::kNotAScheduler, "what listens at " + where + " is not a sheaf scheduler"};
    default:
      return {Kind::kFailed, "the scheduler at " + where + ": " + status.error_message()};
  }
}

}  // namespace

struct SchedulerClient::Wire {
  explicit Wire(const ListenAddress& address)
      : where(address.grpc),
        channel(MakeChannel(address)),
        scheduler(v1::Scheduler::NewStub(channel)),
        view(v1::View::NewStub(channel)) {}

  // Runs `call(context)` with a deadline and within reach of Cancel.
  template <class Call>
  CallStatus Run(std::chrono::milliseconds deadline, bool cancellable, const Call& call) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + deadline);
    {
      std::lock_guard lock(mutex);
      if (cancelled && cancellable) return {CallStatus::Kind::kFailed, "cancelled"};
      current = &context;
    }
    const grpc::Status status = call(&context);
    std::lock_guard lock(mutex);
    current = nullptr;
    return FromGrpc(status, where);
  }

  const std::string where;
  const std::shared_ptr<grpc::Channel> channel;
  const std::unique_ptr<v1::Scheduler::Stub> scheduler;
  const std::unique_ptr<v1::View::Stub> view;
  std::mutex mutex;
  grpc::ClientContext* current = nullptr;
  bool cancelled = false;
};

SchedulerClient::SchedulerClient(const ListenAddress& address) : wire_(std::make_unique<Wire>(address)) {}
SchedulerClient::~SchedulerClient() = default;

CallStatus SchedulerClient::Register(const RegisterArrived& request, std::chrono::milliseconds deadline,
                                     RegisterResult* result) {
  v1::RegisterRequest message;
  message.set_protocol(request.protocol);
  *message.mutable_pool() = ToMessage(request.pool);
  *message.mutable_load() = ToMessage(request.load);
  message.set_cluster_id_seen(request.cluster_id_seen);
  message.set_epoch_seen(request.epoch_seen);
  v1::RegisterReply reply;
  const CallStatus status = wire_->Run(deadline, true, [&](grpc::ClientContext* context) {
    return wire_->scheduler->Register(context, message, &reply);
  });
  if (!status.ok()) return status;
  result->verdict = FromMessage(reply.verdict());
  result->reason = reply.reason();
  result->cluster_id = reply.cluster_id();
  result->epoch = reply.epoch();
  result->heartbeat_interval_ms = reply.heartbeat_interval_ms();
  return status;
}

CallStatus SchedulerClient::Heartbeat(const HeartbeatArrived& request, std::chrono::milliseconds deadline,
                                      HeartbeatResult* result) {
  v1::HeartbeatRequest message;
  message.set_pool_id(request.pool_id);
  message.set_incarnation(request.incarnation);
  message.set_epoch(request.epoch);
  message.set_sequence(request.sequence);
  *message.mutable_load() = ToMessage(request.load);
  v1::HeartbeatReply reply;
  const CallStatus status = wire_->Run(deadline, true, [&](grpc::ClientContext* context) {
    return wire_->scheduler->Heartbeat(context, message, &reply);
  });
  if (!status.ok()) return status;
  result->verdict = FromMessage(reply.verdict());
  result->reason = reply.reason();
  result->epoch = reply.epoch();
  return status;
}

CallStatus SchedulerClient::Leave(const std::string& pool_id, std::uint64_t incarnation, std::uint64_t epoch,
                                  std::chrono::milliseconds deadline) {
  v1::LeaveRequest message;
  message.set_pool_id(pool_id);
  message.set_incarnation(incarnation);
  message.set_epoch(epoch);
  v1::LeaveReply reply;
  return wire_->Run(deadline, false,
                    [&](grpc::ClientContext* context) { return wire_->scheduler->Leave(context, message, &reply); });
}

CallStatus SchedulerClient::GetCluster(std::chrono::milliseconds deadline, ClusterView* view) {
  v1::ClusterView reply;
  const CallStatus status = wire_->Run(deadline, true, [&](grpc::ClientContext* context) {
    return wire_->view->GetCluster(context, v1::GetClusterRequest(), &reply);
  });
  if (status.ok()) *view = FromMessage(reply);
  return status;
}

void SchedulerClient::Cancel() {
  std::lock_guard lock(wire_->mutex);
  wire_->cancelled = true;
  if (wire_->current != nullptr) wire_->current->TryCancel();
}

}  // namespace sheaf::scheduler
