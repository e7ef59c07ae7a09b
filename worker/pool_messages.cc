#include "worker/pool_messages.h"

#include <cstring>

#include "base/limits.h"

namespace sheaf {
namespace {

using wire::Header;
using wire::Kind;

// The fixed part of a message; the packet is longer only where `tail` allows it.
template <typename T>
bool Read(std::span<const std::byte> bytes, bool tail, T* message) {
  if (bytes.size() < sizeof(T) || (!tail && bytes.size() != sizeof(T))) return false;
  std::memcpy(message, bytes.data(), sizeof(T));
  return true;
}

// What follows the fixed part, as text; or as a list of which nothing is left over.
constexpr std::size_t kTextMax = 4096;
bool ReadText(std::span<const std::byte> tail, std::string* text) {
  if (tail.size() > kTextMax) return false;
  text->assign(reinterpret_cast<const char*>(tail.data()), tail.size());
  return true;
}
template <typename T>
bool ReadList(std::span<const std::byte> tail, std::size_t max, std::vector<T>* list) {
  if (tail.size() % sizeof(T) != 0 || tail.size() / sizeof(T) > max) return false;
  list->resize(tail.size() / sizeof(T));
  if (!tail.empty()) std::memcpy(list->data(), tail.data(), tail.size());
  return true;
}

void AppendString(const std::string& text, std::vector<std::byte>* out) {
  const auto* first = reinterpret_cast<const std::byte*>(text.c_str());
  out->insert(out->end(), first, first + text.size() + 1);
}

std::size_t FdsExpected(Kind kind, std::span<const std::byte> bytes) {
  wire::Attach attach;
  if (kind == Kind::kAttach && Read(bytes, true, &attach) && attach.role == wire::Role::kDriver) return 3;
  return 0;
}

}  // namespace

std::optional<JobDescription> ParseJobDescription(std::span<const std::byte> tail, std::uint32_t arguments,
                                                  std::uint32_t environment) {
  std::vector<std::string> strings;
  const char* at = reinterpret_cast<const char*>(tail.data());
  const char* const end = at + tail.size();
  while (at != end) {
    const void* zero = std::memchr(at, 0, static_cast<std::size_t>(end - at));
    if (!zero) return std::nullopt;
    strings.emplace_back(at, static_cast<const char*>(zero));
    at = static_cast<const char*>(zero) + 1;
  }
  if (strings.size() != std::uint64_t{1} + arguments + environment) return std::nullopt;
  JobDescription job;
  job.directory = std::move(strings[0]);
  const auto middle = strings.begin() + 1 + arguments;
  job.arguments.assign(std::make_move_iterator(strings.begin() + 1), std::make_move_iterator(middle));
  job.environment.assign(std::make_move_iterator(middle), std::make_move_iterator(strings.end()));
  return job;
}

void AppendJobDescription(const JobDescription& job, std::vector<std::byte>* out) {
  AppendString(job.directory, out);
  for (const std::string& text : job.arguments) AppendString(text, out);
  for (const std::string& text : job.environment) AppendString(text, out);
}

std::optional<ClientMessage> ParseClientMessage(std::span<const std::byte> bytes, std::size_t fds,
                                                std::string* reason) {
  Header header;
  if (bytes.size() > limits::kWireBytesMax || !Read(bytes, true, &header) || header.size != bytes.size()) {
    *reason = "a packet whose size is not what its header says";
    return std::nullopt;
  }
  if (fds != FdsExpected(header.kind, bytes)) {
    *reason = "an unexpected number of file descriptors";
    return std::nullopt;
  }
  ClientMessage message;
  message.request = header.request;
  bool fits = false;
  switch (header.kind) {
    case Kind::kAttach: {
      AttachMessage body;
      if (!Read(bytes, true, &body.attach)) break;
      if (body.attach.role == wire::Role::kDriver) {
        auto job = ParseJobDescription(bytes.subspan(sizeof(wire::Attach)), body.attach.argument_count,
                                       body.attach.environment_count);
        if (!job || job->arguments.empty()) break;
        body.job = std::move(*job);
      } else if ((body.attach.role != wire::Role::kWorker && body.attach.role != wire::Role::kRelay) ||
                 bytes.size() != sizeof(wire::Attach)) {
        break;
      }
      message.body = std::move(body);
      fits = true;
      break;
    }
    case Kind::kMakeSegment: {
      wire::MakeSegment make;
      fits = Read(bytes, false, &make) && make.kind <= wire::SegmentKind::kLarge;
      if (fits) message.body = MakeSegmentMessage{make.kind, make.bytes, make.segment};
      break;
    }
    case Kind::kSegmentMapped:
    case Kind::kOpenSegment:
    case Kind::kDropSegment:
    case Kind::kFetch: {
      wire::SegmentName name;
      fits = Read(bytes, false, &name) && (header.kind != Kind::kOpenSegment || name.now <= 1);
      if (!fits) break;
      if (header.kind == Kind::kSegmentMapped) message.body = SegmentMappedMessage{name.segment};
      if (header.kind == Kind::kOpenSegment)
        message.body = OpenSegmentMessage{name.client, name.segment, name.now == 1};
      if (header.kind == Kind::kDropSegment) message.body = DropSegmentMessage{name.segment};
      if (header.kind == Kind::kFetch) message.body = FetchMessage{name.client, name.segment};
      break;
    }
    case Kind::kWant: {
      wire::Want want;
      fits = Read(bytes, false, &want);
      if (fits) message.body = WantMessage{want.workers, want.cpus_milli, want.elsewhere, want.shape};
      break;
    }
    case Kind::kShape: {
      wire::Shape shape;
      ShapeMessage body;
      fits = Read(bytes, true, &shape);
      if (!fits) break;
      const auto tail = bytes.subspan(sizeof shape);
      body.shape = shape.shape;
      fits = ParseNeeds({reinterpret_cast<const char*>(tail.data()), tail.size()}, &body.needs).empty() &&
             !body.needs.empty();
      if (fits) message.body = std::move(body);
      break;
    }
    case Kind::kReturnWorker: {
      wire::PairName pair;
      fits = Read(bytes, false, &pair);
      if (fits) message.body = ReturnWorkerMessage{pair.peer, pair.own_region};
      break;
    }
    case Kind::kBlocked: {
      wire::Blocked blocked;
      fits = Read(bytes, false, &blocked) && blocked.blocked <= 1;
      if (fits) message.body = BlockedMessage{blocked.blocked == 1};
      break;
    }
    case Kind::kGoneAck: {
      wire::PeerName peer;
      fits = Read(bytes, false, &peer);
      if (fits) message.body = GoneAckMessage{peer.peer};
      break;
    }
    case Kind::kHeirs: {
      wire::PeerName dead;
      fits = Read(bytes, true, &dead);
      if (!fits) break;
      HeirsMessage body{dead.peer, {}};
      fits = ReadList(bytes.subspan(sizeof dead), wire::kHeirEntriesMax, &body.heirs);
      if (fits) message.body = std::move(body);
      break;
    }
    case Kind::kHeirsTold: {
      wire::PeerName peer;
      fits = Read(bytes, false, &peer);
      if (fits) message.body = HeirsToldMessage{peer.peer};
      break;
    }
    case Kind::kAway: {
      AwayMessage body;
      fits = ReadList(bytes.subspan(sizeof(Header)), wire::kAwayEntriesMax, &body.entries) && !body.entries.empty();
      if (fits) message.body = std::move(body);
      break;
    }
    case Kind::kNotFetched: {
      wire::Refused refused;
      fits = Read(bytes, true, &refused);
      if (!fits) break;
      NotFetchedMessage body{refused.shape, refused.why, {}};
      fits = refused.why > wire::Refusal::kNone && refused.why <= wire::Refusal::kLater &&
             ReadText(bytes.subspan(sizeof refused), &body.text);
      if (fits) message.body = std::move(body);
      break;
    }
    case Kind::kArrived: {
      wire::Arrived arrived;
      fits = Read(bytes, false, &arrived);
      if (fits) message.body = ArrivedMessage{arrived.submitter, arrived.slot, arrived.generation};
      break;
    }
    case Kind::kRemake: {
      wire::PeerName dead;
      fits = Read(bytes, true, &dead);
      if (!fits) break;
      RemakeMessage body{dead.peer, {}};
      fits = ReadList(bytes.subspan(sizeof dead), limits::kWireBytesMax, &body.segments) && !body.segments.empty();
      if (fits) message.body = std::move(body);
      break;
    }
    case Kind::kRemade: {
      wire::Remade remade;
      fits = Read(bytes, true, &remade);
      if (!fits) break;
      RemadeMessage body{remade.dead, remade.segment, remade.client, remade.in, {}};
      fits = ReadText(bytes.subspan(sizeof remade), &body.text);
      if (fits) message.body = std::move(body);
      break;
    }
    case Kind::kStartCall: {
      StartCallMessage body;
      fits = Read(bytes, true, &body.call);
      if (!fits) break;
      const auto tail = bytes.subspan(sizeof(wire::StartCall));
      body.arguments.assign(tail.begin(), tail.end());
      message.body = std::move(body);
      break;
    }
    case Kind::kAdmit: {
      AdmitMessage body;
      fits = ReadText(bytes.subspan(sizeof(Header)), &body.ticket);
      if (fits) message.body = std::move(body);
      break;
    }
    case Kind::kParked: {
      wire::Parked parked;
      fits = Read(bytes, false, &parked);
      if (fits) message.body = ParkedMessage{parked.bytes};
      break;
    }
    case Kind::kBegun: {
      wire::Begun begun;
      fits = Read(bytes, false, &begun);
      if (fits) message.body = BegunMessage{begun.grant};
      break;
    }
    case Kind::kAsks:
    case Kind::kReleased:
    case Kind::kAttached:
    case Kind::kStatus:
    case Kind::kStop:
    case Kind::kDetach:
      fits = bytes.size() == sizeof(Header);
      if (header.kind == Kind::kAsks) message.body = AsksMessage{};
      if (header.kind == Kind::kReleased) message.body = ReleasedMessage{};
      if (header.kind == Kind::kAttached) message.body = AttachedMessage{};
      if (header.kind == Kind::kStatus) message.body = StatusMessage{};
      if (header.kind == Kind::kStop) message.body = StopMessage{};
      if (header.kind == Kind::kDetach) message.body = DetachMessage{};
      break;
    default:
      *reason =
          "a kind of message that clients do not send: " + std::to_string(static_cast<std::uint32_t>(header.kind));
      return std::nullopt;
  }
  if (!fits) {
    *reason = "a message of kind " + std::to_string(static_cast<std::uint32_t>(header.kind)) +
              " whose size or content is out of bounds";
    return std::nullopt;
  }
  return message;
}

}  // namespace sheaf
