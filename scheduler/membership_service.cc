#include "scheduler/membership_service.h"

#include <cstdio>

#include "base/needs.h"
#include "base/unix_time.h"
#include "scheduler/join_tokens.h"

namespace sheaf::scheduler {
namespace {

using grpc::Status;
using grpc::StatusCode;

class Guard final : public grpc::AuthMetadataProcessor {
 public:
  explicit Guard(std::string cluster) : cluster_(std::move(cluster)) {}
  bool IsBlocking() const override { return false; }
  Status Process(const InputMetadata& metadata, grpc::AuthContext* context, OutputMetadata*, OutputMetadata*) override {
    const auto path = metadata.find(":path");
    const std::string method = path == metadata.end() ? "" : std::string(path->second.data(), path->second.size());
    std::string id;
    const Caller caller = CallerOf(*context, cluster_, &id);
    if (MayCall(caller, method)) return Status::OK;
    // Without what the caller sent: it may be a secret that went to the wrong place.
    std::fprintf(stderr, "sheaf scheduler: refused a call of %s by %s\n", method.substr(0, 80).c_str(),
                 caller == Caller::kStranger ? "a stranger"
                 : caller == Caller::kAdmin  ? "an admin"
                                             : ("pool " + id).c_str());
    return caller == Caller::kStranger
               ? Status(StatusCode::UNAUTHENTICATED,
                        "this scheduler serves members of its cluster: join with --token-file")
               : Status(StatusCode::PERMISSION_DENIED, "this certificate does not allow that call");
  }

 private:
  const std::string cluster_;
};

}  // namespace

std::shared_ptr<grpc::ServerCredentials> GuardedCredentials(const Security& security) {
  grpc::SslServerCredentialsOptions options(GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_root_certs = security.authority.certificate;
  options.pem_key_cert_pairs.push_back({security.own.key, security.own.certificate + security.authority.certificate});
  auto credentials = grpc::SslServerCredentials(options);
  credentials->SetAuthMetadataProcessor(std::make_shared<Guard>(security.cluster));
  return credentials;
}

Caller CallerOf(const grpc::AuthContext& context, const std::string& cluster, std::string* id) {
  const auto kind = context.FindPropertyValues("transport_security_type");
  if (kind.empty() || kind.front() != "ssl") return Caller::kLocal;
  for (const auto& name : context.FindPropertyValues("x509_subject_alternative_name")) {
    const auto who = ParseIdentity({name.data(), name.size()});
    if (!who || who->cluster != cluster) continue;
    *id = who->id;
    if (who->role == "pool") return Caller::kPool;
    if (who->role == "admin") return Caller::kAdmin;
  }
  return Caller::kStranger;
}

bool SpeaksFor(const grpc::CallbackServerContext& context, const std::string& cluster, const std::string& pool) {
  std::string id;
  switch (CallerOf(*context.auth_context(), cluster, &id)) {
    case Caller::kLocal:
      return true;
    case Caller::kPool:
      return id == pool;
    default:
      return false;
  }
}

Status MembershipDesk::Give(const std::string& request, const std::string& pool, v1::CertificateReply* reply) const {
  constexpr std::size_t kRequestMax = 8192;
  if (request.size() > kRequestMax) return {StatusCode::INVALID_ARGUMENT, "a certificate request of too many bytes"};
  try {
    const auto certificate =
        Sign(security_->authority, request, {security_->cluster, "pool", pool}, security_->certificate_seconds);
    if (!certificate) return {StatusCode::INVALID_ARGUMENT, "this is no certificate request, or not signed by its key"};
    reply->set_certificate(*certificate);
    reply->set_authority(security_->authority.certificate);
    return Status::OK;
  } catch (const std::exception& error) {
    return {StatusCode::INTERNAL, error.what()};
  }
}

grpc::ServerUnaryReactor* MembershipDesk::Join(grpc::CallbackServerContext* context, const v1::JoinRequest* request,
                                               v1::CertificateReply* reply) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  if (!security_) {
    reactor->Finish({StatusCode::FAILED_PRECONDITION, "nobody needs to join here: this scheduler is local"});
    return reactor;
  }
  if (!IsPlainName(request->pool_id())) {
    reactor->Finish({StatusCode::INVALID_ARGUMENT, "a pool id has 1 to 64 letters, digits, '-', '_' or '.'"});
    return reactor;
  }
  const std::string why = UseToken(security_->tokens, request->token(), UnixSeconds());
  if (!why.empty()) {
    std::fprintf(stderr, "sheaf scheduler: refused to let pool %s join: %s\n", request->pool_id().c_str(), why.c_str());
    reactor->Finish({StatusCode::UNAUTHENTICATED, why});
    return reactor;
  }
  reactor->Finish(Give(request->request(), request->pool_id(), reply));
  return reactor;
}

grpc::ServerUnaryReactor* MembershipDesk::Renew(grpc::CallbackServerContext* context, const v1::RenewRequest* request,
                                                v1::CertificateReply* reply) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  std::string id;
  if (!security_ || CallerOf(*context->auth_context(), security_->cluster, &id) != Caller::kPool) {
    reactor->Finish({StatusCode::PERMISSION_DENIED, "only a member renews its certificate"});
    return reactor;
  }
  reactor->Finish(Give(request->request(), id, reply));
  return reactor;
}

}  // namespace sheaf::scheduler
