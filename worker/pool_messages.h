// Bytes from a client's socket become a message, or a reason why they are none. Pure; the fuzzer's target.
//
// After parsing, sizes, kinds, enumerators and counts are valid and every string is inside the packet. What remains to be checked
// is meaning: whether the client may say this now, and whether what it names exists.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "base/needs.h"
#include "proto/local_wire.h"

namespace sheaf {

// What a driver hands over so that its workers can be started.
struct JobDescription {
  std::string directory;
  std::vector<std::string> arguments;
  std::vector<std::string> environment;
};

struct AttachMessage {
  wire::Attach attach;
  JobDescription job;  // drivers only
};
struct AttachedMessage {};
struct MakeSegmentMessage {
  wire::SegmentKind kind;
  std::uint64_t bytes;
  std::uint32_t segment;  // an away one that gets memory; 0: a new one
};
struct SegmentMappedMessage {
  std::uint32_t segment;
};
struct OpenSegmentMessage {
  std::uint32_t client, segment;
  bool now;  // answer at once, with the offer of an away one
};
struct DropSegmentMessage {
  std::uint32_t segment;
};
struct WantMessage {
  std::uint32_t workers, cpus_milli, elsewhere, shape;
};
struct ShapeMessage {
  std::uint32_t shape;
  Needs needs;
};
struct ReturnWorkerMessage {
  std::uint32_t worker, own_region;
};
struct BlockedMessage {
  bool blocked;
};
struct HeirsMessage {
  std::uint32_t dead;
  std::vector<wire::HeirEntry> heirs;
};
struct HeirsToldMessage {
  std::uint32_t dead;
};
struct AwayMessage {
  std::vector<wire::AwayEntry> entries;  // never empty
};
struct NotFetchedMessage {
  std::uint32_t segment;
  wire::Refusal why;  // never kNone
  std::string text;
};
struct ArrivedMessage {
  std::uint32_t submitter, slot, generation;
};
struct FetchMessage {
  std::uint32_t client, segment;
};
struct RemakeMessage {
  std::uint32_t dead;
  std::vector<std::uint32_t> segments;  // never empty
};
struct RemadeMessage {
  std::uint32_t dead, segment;
  std::uint32_t client, in;  // client 0: nothing stands in for it
  std::string text;
};
struct GoneAckMessage {
  std::uint32_t dead;
};
struct StartCallMessage {
  wire::StartCall call;
  std::vector<std::byte> arguments;
};
struct AdmitMessage {
  std::string ticket;
};
struct ParkedMessage {
  std::uint64_t bytes = 0;
};
struct AsksMessage {};
struct BegunMessage {
  std::uint64_t grant = 0;
};
struct ReleasedMessage {};
struct StatusMessage {};
struct StopMessage {};
struct DetachMessage {};

struct ClientMessage {
  std::uint64_t request = 0;
  std::variant<AttachMessage, AttachedMessage, MakeSegmentMessage, SegmentMappedMessage, OpenSegmentMessage,
               DropSegmentMessage, WantMessage, ShapeMessage, ReturnWorkerMessage, BlockedMessage, GoneAckMessage,
               HeirsMessage, HeirsToldMessage, AwayMessage, NotFetchedMessage, ArrivedMessage, FetchMessage,
               RemakeMessage, RemadeMessage, StartCallMessage, AdmitMessage, ParkedMessage, AsksMessage, BegunMessage,
               ReleasedMessage, StatusMessage, StopMessage, DetachMessage>
      body;
};

// nullopt: *reason says what is wrong with the bytes. `fds`: how many descriptors came along.
std::optional<ClientMessage> ParseClientMessage(std::span<const std::byte> bytes, std::size_t fds, std::string* reason);

// The tail of an attach or spawn message: directory \0 arguments \0... environment \0...
std::optional<JobDescription> ParseJobDescription(std::span<const std::byte> tail, std::uint32_t arguments,
                                                  std::uint32_t environment);
void AppendJobDescription(const JobDescription& job, std::vector<std::byte>* out);

}  // namespace sheaf
