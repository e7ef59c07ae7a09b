// The cluster part as `sheaf-cluster` has it.

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <vector>

#include "base/unix_time.h"
#include "cli/cluster_part.h"
#include "cli/exit_code.h"
#include "cli/token_command.h"
#include "cli/version.h"
#include "scheduler/scheduler_client.h"
#include "worker/pool_main.h"
#include "worker/scheduler_link.h"

namespace sheaf::cli {

void RequireClusterPart(char* const*) {
  // gRPC writes its own account of every refused address to stderr; ours is enough, and this can be overridden.
  setenv("GRPC_VERBOSITY", "NONE", 0);
}

scheduler::Outcome StartScheduler(const scheduler::SchedulerOptions& options,
                                  const std::function<bool(const scheduler::ReadyScheduler&)>& on_ready) {
  return scheduler::RunScheduler(options, on_ready);
}

namespace {

// None are needed on this machine. False: they are, and there are none.
bool FindCredentials(const scheduler::ListenAddress& address, scheduler::Credentials* credentials, std::string* why) {
  if (address.fault != scheduler::ListenAddress::Fault::kNotLocal) return true;
  const char* given = std::getenv("SHEAF_PKI");
  const bool named = given && *given;
  *credentials = scheduler::ReadCredentials(named ? given : StateHome() + "/scheduler/pki/admin");
  if (credentials->ok()) return true;
  if (named) {
    *why = address.grpc + " asks for a certificate of its cluster, and there is none in " + given +
           ": give the directory that has key.pem, cert.pem and ca.pem with --pki or SHEAF_PKI";
    return false;
  }
  // A member asks with its own: on a machine with one pool that one is meant.
  std::vector<std::string> members;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(StateHome() + "/pools", error))
    if (scheduler::ReadCredentials(entry.path()).ok()) members.push_back(entry.path());
  if (members.size() == 1) {
    *credentials = scheduler::ReadCredentials(members[0]);
    return true;
  }
  *why = address.grpc + " asks for a certificate of its cluster: give the directory with --pki or SHEAF_PKI";
  if (!members.empty()) {
    std::sort(members.begin(), members.end());
    *why += ", one of";
    for (const std::string& member : members) *why += " " + member;
  } else {
    *why += "; a pool that has joined keeps its own in " + StateHome() + "/pools/NAME";
  }
  return false;
}

}  // namespace

std::string AskForDrain(const scheduler::ListenAddress& address, const std::string& pool, bool* found) {
  scheduler::Credentials credentials;
  std::string why;
  if (!FindCredentials(address, &credentials, &why)) return why;
  scheduler::SchedulerClient client(address, credentials.ok() ? &credentials : nullptr);
  return client.Drain(pool, std::chrono::seconds(5), found).message;
}

ClusterAnswer AskScheduler(const scheduler::ListenAddress& address, std::chrono::milliseconds timeout, bool placement) {
  ClusterAnswer answer;
  scheduler::Credentials credentials;
  if (!FindCredentials(address, &credentials, &answer.reason)) {
    answer.refused = true;
    return answer;
  }
  scheduler::SchedulerClient client(address, credentials.ok() ? &credentials : nullptr);
  const scheduler::CallStatus status = client.GetCluster(timeout, &answer.view, placement);
  answer.ok = status.ok();
  answer.timed_out = status.kind == scheduler::CallStatus::Kind::kTimeout;
  answer.foreign = status.kind == scheduler::CallStatus::Kind::kNotAScheduler;
  answer.reason = status.message;
  return answer;
}

bool MakeInvitation(const std::string& state_dir, int seconds, std::string* address, std::string* text,
                    std::string* why) {
  scheduler::Invitation invitation;
  if (address->empty()) *address = scheduler::ReadFile(state_dir + "/address");
  invitation.address = *address;
  invitation.authority = scheduler::ReadFile(state_dir + "/pki/authority/cert.pem");
  if (invitation.authority.empty() || invitation.address.empty()) {
    *why = "no scheduler that other machines can reach has its state in " + state_dir +
           ": start it with --listen IP:PORT, or name its directory with --state";
    return false;
  }
  invitation.token = scheduler::NewToken(state_dir + "/tokens", UnixSeconds(), seconds, why);
  if (invitation.token.empty()) return false;
  *text = scheduler::FormatInvitation(invitation);
  return true;
}

std::string WriteSecretFile(const std::string& path, const std::string& content) {
  return scheduler::WriteFile(path, content);
}

namespace {

// A pool whose certificate is still good needs no token. Empty, or why it cannot be a member and, in `code`, what kind of reason it is.
std::string JoinOnce(const PoolOptions& options, int* code) {
  if (options.pki_directory.empty()) return {};
  const scheduler::Credentials kept = scheduler::ReadCredentials(options.pki_directory);
  if (kept.ok() && scheduler::SecondsLeft(kept.certificate) > 0) return {};
  *code = kExitRefused;
  if (options.token_file.empty())
    return "it has no valid certificate in " + options.pki_directory + ": give an invitation with --token-file";
  scheduler::Invitation invitation;
  std::string why;
  if (access(options.token_file.c_str(), R_OK) != 0) {
    *code = kExitUsage;
    return options.token_file + ": " + std::strerror(errno);
  }
  if (!scheduler::ParseInvitation(scheduler::ReadFile(options.token_file), &invitation, &why))
    return options.token_file + ": " + why;
  invitation.address = options.scheduler;
  scheduler::Credentials own;
  const scheduler::CallStatus status =
      scheduler::SchedulerClient::Join(invitation, options.pool_id, std::chrono::seconds(10), &own);
  using Kind = scheduler::CallStatus::Kind;
  if (status.kind == Kind::kUnreachable) *code = kExitUnreachable;
  if (status.kind == Kind::kTimeout) *code = kExitTimeout;
  if (!status.ok()) return "it could not join: " + status.message;
  *code = kExitFailed;
  return scheduler::WriteCredentials(options.pki_directory, own);
}

}  // namespace

int RunMemberPool(const PoolOptions& options) {
  const scheduler::ListenAddress address = scheduler::ParseListenAddress(options.scheduler);
  if (address.fault == scheduler::ListenAddress::Fault::kMalformed ||
      (address.fault == scheduler::ListenAddress::Fault::kNotLocal && options.pki_directory.empty())) {
    std::fprintf(stderr, "sheaf pool: %s\n", address.reason.c_str());
    return kExitFailed;
  }
  int code = kExitFailed;
  if (const std::string why = JoinOnce(options, &code); !why.empty()) {
    std::fprintf(stderr, "sheaf pool: %s\n", why.c_str());
    return code;
  }
  // Before the link's threads exist: a Ctrl-C goes to every thread of the terminal's group, and the supervisor alone
  // decides when a pool ends.
  sigset_t ends;
  sigemptyset(&ends);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) sigaddset(&ends, signal);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);
  worker::SchedulerLink link(
      address, kVersion, [](const std::string& text) { std::fprintf(stderr, "sheaf pool: %s\n", text.c_str()); },
      options.pki_directory);
  code = RunPool(options, [&](const PoolView& view) { link.Publish(view); }, &link);
  link.Stop();
  return code;
}

}  // namespace sheaf::cli
