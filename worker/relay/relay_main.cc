#include "worker/relay/relay_main.h"

#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "proto/local_wire.h"
#include "runtime/context.h"
#include "sheaf/error.h"
#include "worker/relay/connect.h"
#include "worker/relay/far_half.h"
#include "worker/relay/greeting.h"
#include "worker/relay/near_half.h"
#include "worker/relay/transfer_desk.h"
#include "worker/relay/transfer_server.h"

namespace sheaf::relay {
namespace {

std::uint32_t TakeSpawnNumber() {
  const char* text = std::getenv(kSpawnEnvironment);
  const auto spawn = text ? static_cast<std::uint32_t>(std::strtoul(text, nullptr, 10)) : 0;
  unsetenv(kSpawnEnvironment);
  fcntl(wire::kWorkerSocketFd, F_SETFD, FD_CLOEXEC);
  fcntl(kRelayFd, F_SETFD, FD_CLOEXEC);
  return spawn;
}

std::string MachineName() {
  char name[65] = {};
  gethostname(name, sizeof name - 1);
  return name;
}

// ---- near -------------------------------------------------------------------------------------------------------

std::uint32_t NumberIn(const std::string& text) {
  return static_cast<std::uint32_t>(std::strtoul(text.c_str(), nullptr, 10));
}

int RunNear(const std::vector<std::string>& arguments) {
  const std::uint32_t spawn = TakeSpawnNumber();
  const char* given = std::getenv(kRelayEnvironment);
  if (!given) Fail("internal-relay is started by a pool only");
  std::istringstream lines{std::string(given)};
  unsetenv(kRelayEnvironment);
  std::string address, ticket, milli, identity, pki, lender, transfers, places, tried;
  std::getline(lines, address);
  std::getline(lines, ticket);
  std::getline(lines, milli);
  std::getline(lines, identity);
  std::getline(lines, pki);
  std::getline(lines, lender);
  std::getline(lines, transfers);
  std::getline(lines, places);
  std::getline(lines, tried);
  const Parcel parcel = Pack(identity, arguments);  // may read for seconds: before anybody waits for it
  std::string peer, why;
  std::unique_ptr<Transport> transport = Dial(address, pki, &peer, &why);
  if (!transport && tried == "again") _exit(kExitNoStream);  // said before
  if (!transport) Fail(lender.empty() ? why : "pool " + lender + ": " + why);
  if (!pki.empty() && peer != lender) Fail("at " + address + " pool " + peer + " answers, not " + lender);
  Stream stream(std::move(transport));
  Host host = Greet(stream, ticket, parcel);
  host.pool = lender.empty() ? host.name : lender;
  try {
    auto context = runtime::Context::Attach(runtime::UniqueFd(wire::kWorkerSocketFd), wire::Role::kRelay, spawn);
    runtime::SetCurrentContext(context.get());
    TransferDesk desk(transfers);
    NearHalf half(*context, stream, host, NumberIn(milli), NumberIn(places), desk, pki);
    context->Start();
    std::thread([&half] { half.ReadLoop(); }).detach();
    const int code = half.Run();
    half.Farewell();
    std::fflush(nullptr);
    _exit(code);
  } catch (const std::exception& error) {
    Fail(std::string("a relay could not start: ") + error.what());
  }
}

// ---- far --------------------------------------------------------------------------------------------------------

int RunFar() {
  const std::uint32_t spawn = TakeSpawnNumber();
  fcntl(kRelayFd, F_SETFL, fcntl(kRelayFd, F_GETFL) & ~O_NONBLOCK);
  const char* given = std::getenv(kRelayEnvironment);
  std::istringstream lines{std::string(given ? given : "")};
  std::string pki, transfers;
  std::getline(lines, pki);
  std::getline(lines, transfers);
  unsetenv(kRelayEnvironment);
  std::string peer, fault;
  std::unique_ptr<Transport> transport = Secure(Fd(kRelayFd), false, pki, &peer, &fault);
  if (!transport) Fail("a relay was refused: " + fault);
  Stream stream(std::move(transport));
  Guest guest = Receive(stream, peer);
  int out[2], err[2];
  if (pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0) {
    guest.place->Remove();
    RefuseAndEnd(stream, std::strerror(errno));
  }
  guest.program.standard_output = out[1];
  guest.program.standard_error = err[1];
  try {
    auto context =
        runtime::Context::Attach(runtime::UniqueFd(wire::kWorkerSocketFd), wire::Role::kDriver, spawn, &guest.program);
    runtime::SetCurrentContext(context.get());
    TransferDesk desk(transfers);
    FarHalf half(*context, stream, desk, pki, peer, guest.needs, *guest.place);
    context->Start();
    guest.awake.reset();
    SendFrame(stream, Kind::kWelcome, context->budget_bytes, MachineName());
    std::thread([&half] { half.ReadLoop(); }).detach();
    std::thread([&half, reading = out[0], complaints = err[0]] { half.OutputLoop(reading, complaints); }).detach();
    return half.Run();
  } catch (const std::exception& error) {
    guest.place->Remove();
    RefuseAndEnd(stream, error.what());
  }
}

// ---- the server of a machine's offers -------------------------------------------------------------------------------

int RunTransfers() {
  TakeSpawnNumber();
  const char* given = std::getenv(kRelayEnvironment);
  if (!given) Fail("internal-relay is started by a pool only");
  std::istringstream lines{std::string(given)};
  unsetenv(kRelayEnvironment);
  TransferServerOptions options;
  options.listener = kRelayFd;
  options.pool = wire::kWorkerSocketFd;
  std::getline(lines, options.path);
  std::getline(lines, options.address);
  std::getline(lines, options.pki);
  TwinPlace::Sweep(CopyDirectory());  // of a pool that ended before its time
  return ServeTransfers(options);
}

}  // namespace

int RunRelay(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  // Names and frames come and go by the hundred thousand: what was free once is not given back and faulted in again.
  mallopt(M_TRIM_THRESHOLD, 256 << 20);
  mallopt(M_MMAP_THRESHOLD, 64 << 20);
  mallopt(M_TOP_PAD, 4 << 20);
  const std::string half = argc > 0 ? argv[0] : "";
  if (half == "near") return RunNear({argv + 1, argv + argc});
  if (half == "far") return RunFar();
  if (half == "transfers") return RunTransfers();
  std::fprintf(stderr, "sheaf internal-relay: is started by a pool only\n");
  return 2;
}

}  // namespace sheaf::relay
