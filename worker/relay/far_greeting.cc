// The far half of a relay is greeted: it admits nobody by itself, believes no size and no name, and fetches what is not here.
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>

#include "base/needs.h"
#include "base/packet_socket.h"
#include "base/unix_time.h"
#include "proto/local_wire.h"
#include "runtime/libraries.h"
#include "worker/relay/greeting.h"
#include "worker/relay/outgoing.h"

namespace sheaf::relay {
namespace {

constexpr std::string_view kLibraryPath = "LD_LIBRARY_PATH=";

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

// Whether the job's own directory can be used here.
bool IsDirectory(const std::string& path) {
  struct stat info{};
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode) && access(path.c_str(), X_OK) == 0;
}

// From the cache, or from the other half into the cache first.
Fd Fetch(Stream& stream, const std::string& cache, std::uint64_t number, const Hash& hash, std::uint64_t bytes,
         const std::string& what) {
  if (Fd copy = FindCopy(cache, hash)) {
    struct stat info{};
    if (fstat(copy.get(), &info) != 0 || static_cast<std::uint64_t>(info.st_size) != bytes)
      RefuseAndEnd(stream, what + " has another size than was announced");
    return copy;
  }
  SendFrame(stream, Kind::kNeed, number, {});
  const Head head = ReadHead(stream, true);
  if (head.kind != Kind::kProgram || head.number != number || head.bytes != bytes) Fail(what + " did not come");
  std::string why;
  Fd copy = ReceiveCopy(stream, bytes, cache, hash, &why);
  if (!copy) RefuseAndEnd(stream, what + ": " + why);
  return copy;
}

// What the description says of the job, as this machine has it.
class Texts {
 public:
  // Empty, or what is wrong.
  std::string Read(const Hello& hello, const std::string& description) {
    std::vector<std::string> texts;
    for (std::size_t at = 0; at < description.size();) {
      const std::size_t end = description.find('\0', at);
      if (end == description.npos) return "a description that is cut off";
      texts.push_back(description.substr(at, end - at));
      at = end + 1;
    }
    if (hello.arguments == 0 || texts.size() != std::uint64_t{1} + hello.arguments + hello.environment)
      return "a description whose parts do not add up";
    directory = texts[0];
    arguments_.assign(texts.begin() + 1, texts.begin() + 1 + hello.arguments);
    environment_.assign(texts.begin() + 1 + hello.arguments, texts.end());
    std::erase_if(environment_, [this](const std::string& text) {
      if (const std::string mark = std::string(wire::kFilesEnvironment) + "="; text.starts_with(mark))
        files = text.substr(mark.size());
      if (const std::string mark = std::string(wire::kNeedsEnvironment) + "="; text.starts_with(mark))
        needs = text.substr(mark.size());
      return text.starts_with(wire::kJobEnvironment) || text.starts_with(wire::kWorkerLimitsEnvironment);
    });
    return {};
  }
  void Add(const std::string& name, const std::string& value) { environment_.push_back(name + "=" + value); }
  void PutInFrontOfLibraryPath(const std::string& folder) {
    for (std::string& text : environment_) {
      if (!text.starts_with(kLibraryPath)) continue;
      const std::string before = text.substr(kLibraryPath.size());
      text = std::string(kLibraryPath) + folder + (before.empty() ? "" : ":" + before);
      return;
    }
    environment_.push_back(std::string(kLibraryPath) + folder);
  }
  void Write(runtime::ForeignProgram* program) const {
    const auto add = [program](const std::string& text) { program->description.append(text).push_back('\0'); };
    add(directory);
    for (const std::string& text : arguments_) add(text);
    for (const std::string& text : environment_) add(text);
    program->arguments = static_cast<std::uint32_t>(arguments_.size());
    program->environment = static_cast<std::uint32_t>(environment_.size());
  }

  std::string directory, files, needs;  // `files`: declared to be taken along. `needs`: of each task of this relay

 private:
  std::vector<std::string> arguments_, environment_;
};

// Empty, or why not.
std::string Furnish(const std::vector<TravelPart>& parts, TwinPlace* place, Texts* texts) {
  std::vector<std::string> libraries;
  for (const TravelPart& part : parts) {
    if (part.kind != PartKind::kLibrary) {
      const bool executable = part.kind == PartKind::kExecutableFile;
      if (std::string why = place->AddFile(part.name, part.hash, part.bytes, executable); !why.empty()) return why;
      continue;
    }
    if (std::string why = place->AddLibrary(part.name, part.hash); !why.empty()) return why;
    libraries.push_back(place->libraries() + "/" + part.name);
  }
  if (!libraries.empty()) {
    if (place->libraries().find_first_of(":;$\n") != std::string::npos)
      return "the path of its directory for programs has signs that no search path can have: set SHEAF_CACHE";
    texts->PutInFrontOfLibraryPath(place->libraries());
    texts->Add(wire::kLibrariesEnvironment, runtime::PackLibraries(libraries));  // for this pool's own relays
  }
  if (!place->work().empty()) texts->Add(wire::kFilesEnvironment, texts->files);  // for this pool's own relays
  if (place->work().empty() && IsDirectory(texts->directory)) return {};
  if (std::string why = place->MakeWork(); !why.empty()) return why;
  texts->directory = place->work();
  return {};
}

}  // namespace

KeepAwake::KeepAwake(Stream& stream) {
  thread_ = std::thread([this, &stream] {
    std::unique_lock lock(mutex_);
    while (!over_.wait_for(lock, std::chrono::nanoseconds(kPingNanos), [this] { return is_over_; })) {
      Outgoing out;
      out.Bare(Kind::kPing, 0);
      if (!out.Flush(stream)) return;  // whoever reads finds out
    }
  });
}

KeepAwake::~KeepAwake() {
  {
    std::lock_guard lock(mutex_);
    is_over_ = true;
  }
  over_.notify_all();
  thread_.join();
}

void RefuseAndEnd(Stream& stream, const std::string& why) {
  SendFrame(stream, Kind::kRefused, 0, why.substr(0, 4096));
  std::fprintf(stderr, "sheaf pool: a relay was refused: %s\n", why.c_str());
  std::fflush(nullptr);
  _exit(74);
}

Guest Receive(Stream& stream, const std::string& peer) {
  const Head head = ReadHead(stream, true);
  if (head.kind != Kind::kHello) Fail("a relay that does not say who it is");
  Hello hello{};
  if (!stream.Read(&hello, sizeof hello)) Fail("the other pool hung up");
  const std::uint64_t size = std::uint64_t{hello.ticket_bytes} + hello.description_bytes;
  if (size + sizeof hello != head.bytes || hello.ticket_bytes > kTicketMax)
    Fail("a greeting whose parts do not add up");
  const auto text = [&](std::uint32_t bytes) {
    std::string read(bytes, '\0');
    if (!stream.Read(read.data(), bytes)) Fail("the other pool hung up");
    return read;
  };
  const std::string ticket = text(hello.ticket_bytes);
  const std::string description = text(hello.description_bytes);
  if (hello.version != kVersion)
    RefuseAndEnd(stream, "it speaks version " + std::to_string(hello.version) + " of the relays' protocol, this pool " +
                             std::to_string(kVersion) + ": use the same release of sheaf on all machines");
  if (const std::string why = Admit(ticket + "\n" + peer); !why.empty()) RefuseAndEnd(stream, why);
  Guest guest;
  guest.awake = std::make_unique<KeepAwake>(stream);
  Texts texts;
  if (const std::string why = texts.Read(hello, description); !why.empty()) RefuseAndEnd(stream, why);
  if (Needs read; !ParseNeeds(texts.needs, &read).empty()) RefuseAndEnd(stream, "needs that cannot be read");
  guest.needs = texts.needs;
  if (hello.program_bytes == 0 || hello.program_bytes > kProgramMax) RefuseAndEnd(stream, "a program of no size");
  const std::string cache = CopyDirectory();
  if (cache.empty())
    RefuseAndEnd(stream, "no directory for programs: set HOME or SHEAF_CACHE to one of this user's own");
  TwinPlace::Sweep(cache);
  PruneCopies(cache, kCopiesMax, UnixSeconds());

  SendFrame(stream, Kind::kAskParts, 0, {});
  const Head list = ReadHead(stream, true);
  if (list.kind != Kind::kParts) Fail("the list of what travels with the program did not come");
  std::vector<TravelPart> parts;
  if (const std::string why = UnpackParts(ReadText(stream, list), &parts); !why.empty()) RefuseAndEnd(stream, why);
  const Head numbers = ReadHead(stream, true);
  if (numbers.kind != Kind::kLimits) Fail("the limits of the job did not come");
  std::vector<SoftLimit> soft;
  if (const std::string why = UnpackLimits(ReadText(stream, numbers), &soft); !why.empty()) RefuseAndEnd(stream, why);
  texts.Add(wire::kWorkerLimitsEnvironment, TextOfSoftLimits(soft));
  texts.Add(wire::kLimitsEnvironment, TextOfSoftLimits(soft));  // for this pool's own relays
  Hash hash{};
  std::memcpy(hash.data(), hello.program_hash, hash.size());
  guest.executable = Fetch(stream, cache, 0, hash, hello.program_bytes, "the program");
  for (std::size_t i = 0; i < parts.size(); ++i)
    if (parts[i].bytes > 0) Fetch(stream, cache, i + 1, parts[i].hash, parts[i].bytes, parts[i].name);

  guest.place = std::make_unique<TwinPlace>(cache);
  std::string why = Furnish(parts, guest.place.get(), &texts);
  texts.Write(&guest.program);
  if (why.empty() && guest.program.description.size() > limits::kWireBytesMax - sizeof(wire::Attach))
    why = "arguments and environment of the job are longer here than workers can be given";
  if (!why.empty()) {
    guest.place->Remove();
    RefuseAndEnd(stream, why);
  }
  std::memcpy(guest.program.identity.data(), hello.identity, sizeof hello.identity);
  guest.program.executable = guest.executable.get();
  return guest;
}

}  // namespace sheaf::relay
