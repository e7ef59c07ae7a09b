#include "scheduler/scheduler_client.h"

#include <grpcpp/grpcpp.h>

#include <mutex>
#include <optional>

#include "proto/admin.grpc.pb.h"
#include "proto/membership.grpc.pb.h"
#include "proto/scheduler.grpc.pb.h"
#include "proto/view.grpc.pb.h"
#include "scheduler/messages.h"

namespace sheaf::scheduler {
namespace {

constexpr int kReplyBytesMax = 8 * 1024 * 1024;  // 1024 pools with long names stay far below

std::shared_ptr<grpc::Channel> MakeChannel(const ListenAddress& address, const Credentials* credentials) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);  // http_proxy must not see loopback traffic
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  // The caller does its own backing off; gRPC's would delay a reconnect by up to two minutes.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 20);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 500);
  arguments.SetMaxReceiveMessageSize(kReplyBytesMax);
  if (!credentials) return grpc::CreateCustomChannel(address.grpc, grpc::InsecureChannelCredentials(), arguments);
  // Whom we reach is told by the cluster's own name in its certificate, whatever address was dialled.
  const auto self = IdentityIn(credentials->certificate);
  arguments.SetSslTargetNameOverride(ServerName(self ? self->cluster : ClusterOf(credentials->authority)));
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = credentials->authority;
  options.pem_private_key = credentials->key;
  options.pem_cert_chain = credentials->certificate;
  return grpc::CreateCustomChannel(address.grpc, grpc::SslCredentials(options), arguments);
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
  Wire(const ListenAddress& to, const Credentials* with) : address(to), where(to.grpc) {
    if (with) credentials = *with;
    Connect();
  }

  void Connect() {
    channel = MakeChannel(address, credentials ? &*credentials : nullptr);
    scheduler = v1::Scheduler::NewStub(channel);
    membership = v1::Membership::NewStub(channel);
    admin = v1::Admin::NewStub(channel);
    view = v1::View::NewStub(channel);
    unreachable = false;
  }

  // Runs `call(context)` with a deadline and within reach of Cancel.
  template <class Call>
  CallStatus Run(std::chrono::milliseconds deadline, bool cancellable, const Call& call) {
    // A channel that could not connect once may fail for seconds without trying again, whatever its backoff is set to.
    if (unreachable) Connect();
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + deadline);
    {
      std::lock_guard lock(mutex);
      if (cancelled && cancellable) return {CallStatus::Kind::kFailed, "cancelled"};
      current = &context;
    }
    const grpc::Status status = call(&context);
    unreachable = status.error_code() == grpc::StatusCode::UNAVAILABLE;
    std::lock_guard lock(mutex);
    current = nullptr;
    return FromGrpc(status, where);
  }

  const ListenAddress address;
  const std::string where;
  std::optional<Credentials> credentials;
  // The caller's: one call at a time.
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::Scheduler::Stub> scheduler;
  std::unique_ptr<v1::Membership::Stub> membership;
  std::unique_ptr<v1::Admin::Stub> admin;
  std::unique_ptr<v1::View::Stub> view;
  bool unreachable = false;
  std::mutex mutex;
  grpc::ClientContext* current = nullptr;
  bool cancelled = false;
};

SchedulerClient::SchedulerClient(const ListenAddress& address, const Credentials* credentials)
    : wire_(std::make_unique<Wire>(address, credentials)) {}
SchedulerClient::~SchedulerClient() = default;

CallStatus SchedulerClient::Register(const RegisterArrived& request, std::chrono::milliseconds deadline,
                                     RegisterResult* result) {
  v1::RegisterRequest message;
  message.set_protocol(request.protocol);
  *message.mutable_pool() = ToMessage(request.pool);
  *message.mutable_load() = ToMessage(request.load);
  message.set_cluster_id_seen(request.cluster_id_seen);
  message.set_epoch_seen(request.epoch_seen);
  *message.mutable_offer() = ToMessage(request.offer);
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
  result->lost_after_ms = reply.lost_after_ms();
  result->lender_key = reply.lender_key();
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
  message.set_own_milli(request.report.own_milli);
  for (const auto& [name, amount] : request.report.own) (*message.mutable_own_resources())[name] = amount;
  for (const LeaseWant& want : request.report.wants) *message.add_wants() = ToMessage(want);
  for (const GrantInfo& grant : request.report.held) *message.add_held() = ToMessage(grant);
  message.mutable_parked()->Assign(request.report.parked.begin(), request.report.parked.end());
  message.mutable_begun()->Assign(request.report.begun.begin(), request.report.begun.end());
  v1::HeartbeatReply reply;
  const CallStatus status = wire_->Run(deadline, true, [&](grpc::ClientContext* context) {
    return wire_->scheduler->Heartbeat(context, message, &reply);
  });
  if (!status.ok()) return status;
  result->verdict = FromMessage(reply.verdict());
  result->reason = reply.reason();
  result->epoch = reply.epoch();
  for (const v1::Grant& grant : reply.grants()) result->grants.push_back({FromMessage(grant), grant.ticket()});
  result->infeasible.assign(reply.infeasible().begin(), reply.infeasible().end());
  result->voided.assign(reply.voided().begin(), reply.voided().end());
  result->drain = reply.drain();
  for (const v1::Credit& credit : reply.credits())
    result->credits.push_back({credit.parked(), {FromMessage(credit.grant()), credit.grant().ticket()}});
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

CallStatus SchedulerClient::Join(const Invitation& invitation, const std::string& pool,
                                 std::chrono::milliseconds deadline, Credentials* own) {
  Credentials stranger;
  stranger.authority = invitation.authority;
  SchedulerClient client(ParseListenAddress(invitation.address), &stranger);
  v1::JoinRequest message;
  v1::CertificateReply reply;
  const std::string key = NewKey();
  message.set_token(invitation.token);
  message.set_pool_id(pool);
  message.set_request(NewRequest(key));
  CallStatus status = client.wire_->Run(deadline, true, [&](grpc::ClientContext* context) {
    return client.wire_->membership->Join(context, message, &reply);
  });
  if (!status.ok()) return status;
  if (!IsSignedBy(reply.certificate(), invitation.authority))
    return {CallStatus::Kind::kFailed, "the scheduler's answer is no certificate of its cluster"};
  *own = {key, reply.certificate(), invitation.authority};
  return status;
}

CallStatus SchedulerClient::Renew(std::chrono::milliseconds deadline, Credentials* own) {
  v1::RenewRequest message;
  v1::CertificateReply reply;
  const std::string key = NewKey();
  message.set_request(NewRequest(key));
  const CallStatus status = wire_->Run(
      deadline, true, [&](grpc::ClientContext* context) { return wire_->membership->Renew(context, message, &reply); });
  if (!status.ok()) return status;
  if (!IsSignedBy(reply.certificate(), own->authority))
    return {CallStatus::Kind::kFailed, "the scheduler's answer is no certificate of its cluster"};
  own->key = key;
  own->certificate = reply.certificate();
  return status;
}

CallStatus SchedulerClient::Drain(const std::string& pool_id, std::chrono::milliseconds deadline, bool* found) {
  v1::DrainRequest message;
  message.set_pool_id(pool_id);
  v1::DrainReply reply;
  const CallStatus status = wire_->Run(
      deadline, true, [&](grpc::ClientContext* context) { return wire_->admin->Drain(context, message, &reply); });
  *found = reply.found();
  return status;
}

CallStatus SchedulerClient::GetCluster(std::chrono::milliseconds deadline, ClusterView* view, bool placement) {
  v1::GetClusterRequest message;
  message.set_placement(placement);
  v1::ClusterView reply;
  const CallStatus status = wire_->Run(
      deadline, true, [&](grpc::ClientContext* context) { return wire_->view->GetCluster(context, message, &reply); });
  if (status.ok()) *view = FromMessage(reply);
  return status;
}

void SchedulerClient::Cancel() {
  std::lock_guard lock(wire_->mutex);
  wire_->cancelled = true;
  if (wire_->current != nullptr) wire_->current->TryCancel();
}

}  // namespace sheaf::scheduler
