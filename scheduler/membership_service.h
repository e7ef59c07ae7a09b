// The door's guard and the desk where machines get their certificates: what a scheduler has that others can reach.
#pragma once

#include <grpcpp/grpcpp.h>
#include <grpcpp/security/server_credentials.h>

#include <memory>
#include <string>

#include "proto/membership.grpc.pb.h"
#include "scheduler/access.h"
#include "scheduler/pki.h"
#include "scheduler/scheduler_service.h"

namespace sheaf::scheduler {

// TLS with `security`: callers may show a certificate of the cluster; what each may call is decided before any handler
// runs.
std::shared_ptr<grpc::ServerCredentials> GuardedCredentials(const Security& security);

// Who calls: by its certificate, if the connection has one. `id`: of a pool.
Caller CallerOf(const grpc::AuthContext& context, const std::string& cluster, std::string* id);
// Whether the caller may speak for that pool. A local one may, as before.
bool SpeaksFor(const grpc::CallbackServerContext& context, const std::string& cluster, const std::string& pool);

class MembershipDesk final : public v1::Membership::CallbackService {
 public:
  explicit MembershipDesk(const Security* security) : security_(security) {}
  grpc::ServerUnaryReactor* Join(grpc::CallbackServerContext* context, const v1::JoinRequest* request,
                                 v1::CertificateReply* reply) override;
  grpc::ServerUnaryReactor* Renew(grpc::CallbackServerContext* context, const v1::RenewRequest* request,
                                  v1::CertificateReply* reply) override;

 private:
  grpc::Status Give(const std::string& request, const std::string& pool, v1::CertificateReply* reply) const;
  const Security* security_;  // nullptr: nobody joins here, everybody is local
};

}  // namespace sheaf::scheduler
