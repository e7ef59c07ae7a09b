#include "worker/relay/relay_main.h"

#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
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

#include "base/needs.h"
#include "base/packet_socket.h"
#include "proto/local_wire.h"
#include "runtime/context.h"
#include "sheaf/error.h"
#include "worker/relay/connect.h"
#include "worker/relay/far_half.h"
#include "worker/relay/near_half.h"
#include "worker/relay/program_copy.h"
#include "worker/relay/transfer_desk.h"
#include "worker/relay/transfer_server.h"

namespace sheaf::relay {
namespace {

[[noreturn]] void Fail(const std::string& why) {
  std::fprintf(stderr, "sheaf: %s\n", why.c_str());
  std::fflush(nullptr);
  _exit(73);
}

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

// Text of the frame that was announced by `head`.
std::string ReadText(Stream& stream, const Head& head) {
  std::string text(head.bytes, '\0');
  if (!stream.Read(text.data(), text.size())) Fail("the other pool hung up");
  return text;
}

Head ReadHead(Stream& stream, bool near) {
  Head head{};
  if (!stream.Read(&head, sizeof head)) Fail("the other pool hung up before the relay stood");
  if (const std::string why = CheckHead(head, near); !why.empty()) Fail(why);
  return head;
}

void SendFrame(Stream& stream, Kind kind, std::string_view text) {
  Outgoing out;
  out.Begin(kind, 0);
  out.Raw(text.data(), text.size());
  out.End();
  if (!out.Flush(stream)) Fail("the other pool hung up");
}

void SendProgram(Stream& stream, std::uint64_t bytes) {
  Head head{kMagic, Kind::kProgram, 0, bytes};
  iovec piece{&head, sizeof head};
  bool ok = stream.Write(&piece, 1);
  std::vector<char> buffer(1 << 20);
  for (std::uint64_t at = 0; ok && at < bytes;) {
    const ssize_t got =
        pread(kRelayFd, buffer.data(), std::min<std::uint64_t>(buffer.size(), bytes - at), static_cast<off_t>(at));
    if (got <= 0) Fail("the job's executable cannot be read any more");
    iovec part{buffer.data(), static_cast<std::size_t>(got)};
    ok = stream.Write(&part, 1);
    at += static_cast<std::uint64_t>(got);
  }
  if (!ok) Fail("the other pool hung up while the program was sent");
}

// ---- near -------------------------------------------------------------------------------------------------------

std::uint32_t NumberIn(const std::string& text) {
  return static_cast<std::uint32_t>(std::strtoul(text.c_str(), nullptr, 10));
}

// The other machine's name, once the job's twin stands there.
std::string Greet(Stream& stream, const std::string& ticket, const std::string& identity,
                  const std::vector<std::string>& arguments) {
  Hello hello{};
  std::istringstream words(identity);
  for (std::uint64_t& word : hello.identity) words >> std::hex >> word;
  Hash hash{};
  if (!HashFile(kRelayFd, CopyDirectory(), &hash, &hello.program_bytes)) Fail("the job's executable cannot be read");
  std::memcpy(hello.program_hash, hash.data(), hash.size());
  hello.version = kVersion;
  char directory[4096] = "/";
  if (!getcwd(directory, sizeof directory)) std::strcpy(directory, "/");
  std::string description(directory);
  description.push_back('\0');
  for (const std::string& text : arguments) {
    description += text;
    description.push_back('\0');
    ++hello.arguments;
  }
  for (char** entry = environ; *entry; ++entry) {
    description += *entry;
    description.push_back('\0');
    ++hello.environment;
  }
  hello.ticket_bytes = static_cast<std::uint32_t>(ticket.size());
  hello.description_bytes = static_cast<std::uint32_t>(description.size());
  SendFrame(stream, Kind::kHello,
            std::string(reinterpret_cast<const char*>(&hello), sizeof hello) + ticket + description);
  for (;;) {
    const Head head = ReadHead(stream, false);
    if (head.kind == Kind::kRefused) Fail("the other pool refused this job: " + ReadText(stream, head));
    if (head.kind == Kind::kPing) continue;
    if (head.kind == Kind::kNeed) {
      SendProgram(stream, hello.program_bytes);
      continue;
    }
    if (head.kind != Kind::kWelcome) Fail("the other pool answered out of turn");
    return ReadText(stream, head);
  }
}

int RunNear(const std::vector<std::string>& arguments) {
  const std::uint32_t spawn = TakeSpawnNumber();
  const char* given = std::getenv(kRelayEnvironment);
  if (!given) Fail("internal-relay is started by a pool only");
  std::istringstream lines{std::string(given)};
  unsetenv(kRelayEnvironment);
  std::string address, ticket, milli, identity, pki, lender, transfers, places;
  std::getline(lines, address);
  std::getline(lines, ticket);
  std::getline(lines, milli);
  std::getline(lines, identity);
  std::getline(lines, pki);
  std::getline(lines, lender);
  std::getline(lines, transfers);
  std::getline(lines, places);
  std::string peer, why;
  std::unique_ptr<Transport> transport = Dial(address, pki, &peer, &why);
  if (!transport) Fail(why);
  if (!pki.empty() && peer != lender) Fail("at " + address + " pool " + peer + " answers, not " + lender);
  Stream stream(std::move(transport));
  const std::string machine = Greet(stream, ticket, identity, arguments);
  try {
    auto context = runtime::Context::Attach(runtime::UniqueFd(wire::kWorkerSocketFd), wire::Role::kRelay, spawn);
    runtime::SetCurrentContext(context.get());
    TransferDesk desk(transfers);
    NearHalf half(*context, stream, machine, NumberIn(milli), NumberIn(places), desk, pki);
    context->Start();
    std::thread([&half] { half.ReadLoop(); }).detach();
    const int code = half.Run();
    std::fflush(nullptr);
    _exit(code);
  } catch (const std::exception& error) {
    Fail(std::string("a relay could not start: ") + error.what());
  }
}

// ---- far --------------------------------------------------------------------------------------------------------

// Asks the pool whether the holder of `ticket` may run a job here. Empty, or why not.
std::string Admit(const std::string& ticket) {
  std::vector<std::byte> packet(sizeof(wire::Header) + ticket.size());
  const wire::Header header{wire::Kind::kAdmit, static_cast<std::uint32_t>(packet.size()), 1};
  std::memcpy(packet.data(), &header, sizeof header);
  std::memcpy(packet.data() + sizeof header, ticket.data(), ticket.size());
  if (SendPacket(wire::kWorkerSocketFd, packet, {}, true) != PacketResult::kOk) return "the pool is gone";
  Packet answer;
  pollfd waits{wire::kWorkerSocketFd, POLLIN, 0};
  if (poll(&waits, 1, 5000) != 1 ||
      ReceivePacket(wire::kWorkerSocketFd, limits::kWireBytesMax, false, &answer) != PacketResult::kOk ||
      answer.bytes.size() < sizeof header)
    return "the pool does not answer";
  wire::Header said{};
  std::memcpy(&said, answer.bytes.data(), sizeof said);
  if (said.kind == wire::Kind::kDone) return {};
  if (answer.bytes.size() < sizeof(wire::Refused)) return "the pool refused";
  return {reinterpret_cast<const char*>(answer.bytes.data()) + sizeof(wire::Refused),
          answer.bytes.size() - sizeof(wire::Refused)};
}

[[noreturn]] void RefuseAndEnd(Stream& stream, const std::string& why) {
  SendFrame(stream, Kind::kRefused, why.substr(0, 4096));
  std::fprintf(stderr, "sheaf pool: a relay was refused: %s\n", why.c_str());
  std::fflush(nullptr);
  _exit(74);
}

// The directory of the job, if it is here, too; else an empty one of its own.
std::string DirectoryFor(const std::string& wanted, const std::string& cache) {
  struct stat info{};
  if (stat(wanted.c_str(), &info) == 0 && S_ISDIR(info.st_mode) && access(wanted.c_str(), X_OK) == 0) return wanted;
  std::string made = cache + "/job-XXXXXX";
  return mkdtemp(made.data()) ? made : "/";
}

// Takes a variable out of a description: the directory, `arguments` strings, `environment` strings. Empty: there is none.
std::string TakeVariable(std::string_view name, std::string* description, const Hello& hello,
                         std::uint32_t* environment) {
  std::size_t at = 0;
  for (std::uint64_t passed = 0; passed < std::uint64_t{hello.arguments} + 1 && at < description->size(); ++passed)
    at = std::min(description->find('\0', at), description->size() - 1) + 1;
  while (at < description->size()) {
    const std::size_t end = std::min(description->find('\0', at), description->size() - 1);
    const std::string text = description->substr(at, end - at);
    if (text.starts_with(name) && text.size() > name.size() && text[name.size()] == '=') {
      description->erase(at, end + 1 - at);
      --*environment;
      return text.substr(name.size() + 1);
    }
    at = end + 1;
  }
  return {};
}

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
  const Head head = ReadHead(stream, true);
  if (head.kind != Kind::kHello) Fail("a relay that does not say who it is");
  Hello hello{};
  if (!stream.Read(&hello, sizeof hello)) Fail("the other pool hung up");
  const std::uint64_t texts = std::uint64_t{hello.ticket_bytes} + hello.description_bytes;
  if (texts + sizeof hello != head.bytes || hello.ticket_bytes > 4096) Fail("a greeting whose parts do not add up");
  const auto text = [&](std::uint32_t size) {
    std::string read(size, '\0');
    if (!stream.Read(read.data(), size)) Fail("the other pool hung up");
    return read;
  };
  const std::string ticket = text(hello.ticket_bytes);
  std::string description = text(hello.description_bytes);
  if (hello.version != kVersion)
    RefuseAndEnd(stream, "it speaks version " + std::to_string(hello.version) + " of the relays' protocol, this pool " +
                             std::to_string(kVersion) + ": use the same release of sheaf on all machines");
  if (const std::string why = Admit(ticket + "\n" + peer); !why.empty()) RefuseAndEnd(stream, why);
  if (hello.program_bytes == 0 || hello.program_bytes > kProgramMax) RefuseAndEnd(stream, "a program of no size");
  const std::string cache = CopyDirectory();
  if (cache.empty())
    RefuseAndEnd(stream, "no directory for programs: set HOME or SHEAF_CACHE to one of this user's own");
  Hash hash{};
  std::memcpy(hash.data(), hello.program_hash, hash.size());
  Fd executable = FindCopy(cache, hash);
  if (!executable) {
    SendFrame(stream, Kind::kNeed, {});
    const Head program = ReadHead(stream, true);
    if (program.kind != Kind::kProgram || program.bytes != hello.program_bytes) Fail("the program did not come");
    std::string why;
    executable = ReceiveCopy(stream, program.bytes, cache, hash, &why);
    if (!executable) RefuseAndEnd(stream, why);
  }
  int out[2], err[2];
  if (pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0) RefuseAndEnd(stream, std::strerror(errno));
  runtime::ForeignProgram program;
  std::memcpy(program.identity.data(), hello.identity, sizeof hello.identity);
  program.executable = executable.get();
  program.standard_output = out[1];
  program.standard_error = err[1];
  program.arguments = hello.arguments;
  program.environment = hello.environment;
  const std::string needs = TakeVariable(kNeedsEnvironment, &description, hello, &program.environment);
  if (Needs read; !ParseNeeds(needs, &read).empty()) RefuseAndEnd(stream, "needs that cannot be read");
  const std::string directory = description.substr(0, description.find('\0'));
  program.description =
      DirectoryFor(directory, cache) + description.substr(std::min(directory.size(), description.size()));
  try {
    auto context =
        runtime::Context::Attach(runtime::UniqueFd(wire::kWorkerSocketFd), wire::Role::kDriver, spawn, &program);
    runtime::SetCurrentContext(context.get());
    TransferDesk desk(transfers);
    FarHalf half(*context, stream, desk, pki, peer, needs);
    context->Start();
    SendFrame(stream, Kind::kWelcome, MachineName());
    std::thread([&half] { half.ReadLoop(); }).detach();
    std::thread([&half, reading = out[0], complaints = err[0]] { half.OutputLoop(reading, complaints); }).detach();
    return half.Run();
  } catch (const std::exception& error) {
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
