// What the two halves of a relay say to each other over one stream: frames of a fixed head and a body.
//
// Little endian, as every machine that Sheaf runs on. Pure layouts and their bounds; nothing here reads or writes. A body
// is read only after its head was checked with CheckHead, so a hostile peer costs at most its own relay.
//
//   frame       from  body                              means
//   kHello      near  Hello, ticket, description        which program, by which right; the first frame
//   kAskParts   far                                     admitted: what travels beside the executable?
//   kParts      near  Part and its name, each           libraries and working files; parts.h reads them
//   kLimits     near  Limit...                          of the driver; follows kParts
//   kNeed n     far                                     it is not here, send it: 0 the executable, else the n-th part
//   kProgram n  near  its bytes                         named by the hash in Hello, or in Part
//   kWelcome n  far   text: the machine's name          the twin of the job stands: begin; n: bytes of the pool's store
//   kRefused    far   text: why                         the last frame
//   kStart      near  Start, Form                       OnWorkerStart
//   kValue n    both  Form                              the value of object n
//   kPush n     near  Push, PushInput..., Form          run a task; its result is object n
//   kDone n     far   Done, Form                        the result
//   kForget     near  names, u64 each                   these are named no more
//   kForgotten  far   the same                          nothing that follows names them
//   kOutput     far   u32 stream, text                  what the workers wrote: whole lines
//   kPark       near                                    its grant went back: no task follows
//   kRenew n    near  ticket                            of another grant, for the same job; n: that grant, if it is a credit
//   kRenewed n  far                                     go on
//   kStays n    far                                     not by that credit: it stays parked
//   kWaiting n  far                                     so many of the tasks that run there wait inside Get
//   kPing       both                                    alive
//   kFetched n  both                                    what the value of n offered is there: it need not stay
//   kAgain n    both                                    it could not be fetched: send it in this stream
//   kLast       near                                    it ends once it has what the workers have written
//   kAllSaid    far                                     that is all of it
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "worker/relay/transfer_frame.h"

namespace sheaf::relay {

inline constexpr std::uint32_t kMagic = 0x31524853;  // "SHR1"
inline constexpr std::uint32_t kVersion = 4;

enum class Kind : std::uint32_t {
  kHello = 1,
  kNeed = 2,
  kProgram = 3,
  kWelcome = 4,
  kRefused = 5,
  kStart = 6,
  kValue = 7,
  kPush = 8,
  kDone = 9,
  kForget = 10,
  kForgotten = 11,
  kOutput = 12,
  kPing = 13,
  kFetched = 14,
  kAgain = 15,
  kPark = 16,
  kRenew = 17,
  kRenewed = 18,
  kWaiting = 19,
  kAskParts = 20,
  kParts = 21,
  kLimits = 22,
  kStays = 23,
  kLast = 24,
  kAllSaid = 25,
};

struct Head {
  std::uint32_t magic;
  Kind kind;
  std::uint64_t number;  // the object's name
  std::uint64_t bytes;   // of the body
};

struct Hello {
  std::uint32_t version;
  std::uint32_t ticket_bytes;
  std::uint32_t arguments, environment;  // strings in the description, after the directory
  std::uint32_t description_bytes;
  std::uint64_t identity[4];  // build id
  std::uint64_t program_bytes;
  std::uint8_t program_hash[32];  // SHA-256 of the executable
};

// A file that travels beside the executable. Its name follows.
enum class PartKind : std::uint32_t { kLibrary = 1, kFile = 2, kExecutableFile = 3 };
struct Part {
  PartKind kind;
  std::uint32_t name_bytes;
  std::uint64_t bytes;
  std::uint8_t hash[32];  // SHA-256
};

struct Limit {
  std::uint32_t resource, reserved;  // RLIMIT_...
  std::uint64_t soft;                // all ones: none
};

// A stored form: what a payload is, where it names memory or objects, and the memory itself. On the wire: FormHead, marks
// in the order of their offsets, the payload, the blocks in the order of the marks.
inline constexpr std::uint32_t kFormError = 1;
struct FormHead {
  std::uint32_t flags;
  std::uint32_t payload_bytes;
  std::uint32_t marks;
  std::uint32_t reserved;
  std::uint64_t block_bytes;
};
inline constexpr std::uint32_t kMarkRef = 1u << 31;
inline constexpr std::uint32_t kBlockOffered = 1;
struct FormMark {
  std::uint32_t offset;   // with kMarkRef: of a ref, else of a block
  std::uint32_t element;  // of a ref; of a block: kBlockOffered if a BlockOffer lies in its place, or 0
  std::uint64_t value;    // the object's name; or the size of what lies among the blocks
};
inline constexpr std::uint32_t kBlockRecordBytes = 24, kRefRecordBytes = 16;

struct Push {
  std::uint32_t function, inputs;
  std::uint64_t digest;
  std::uint32_t attempt, retries;
  std::uint32_t cpus_milli, reserved;
};
struct PushInput {
  std::uint64_t name;
  std::uint16_t element, unwrap;
  std::uint32_t reserved;
};
struct Done {
  std::uint64_t took_nanos;  // of one run of the function there; 0: not known
};
struct Start {
  std::uint32_t function, reserved;
  std::uint64_t digest;
};

inline constexpr std::uint64_t kTextMax = 64 * 1024;
inline constexpr std::uint64_t kTicketMax = 4096;
inline constexpr std::uint64_t kHelloMax = 256 * 1024;
inline constexpr std::uint64_t kProgramMax = std::uint64_t{4} << 30;
inline constexpr std::uint64_t kPartsBytesMax = 2 * 1024 * 1024;  // of the list
inline constexpr std::uint64_t kLimitsMax = 16;                   // as many as Linux has
inline constexpr std::uint64_t kLibraryNameMax = 255;
inline constexpr std::uint64_t kLibrariesBytesMax = kProgramMax;  // of all of them together
inline constexpr std::uint32_t kPayloadMax = 1u << 30;
inline constexpr std::uint64_t kBodyMax = std::uint64_t{1} << 41;
inline constexpr std::uint32_t kInputsMax = 65535;
inline constexpr std::uint64_t kFarNames = std::uint64_t{1} << 63;  // in names that the far half has given

// Empty, or what is wrong. `near`: whether the frame comes from the near half.
inline std::string CheckHead(const Head& head, bool near) {
  if (head.magic != kMagic) return "these bytes are no frame of a relay";
  std::uint64_t least = 0, most = 0;
  bool from_near = true, from_far = false;
  switch (head.kind) {
    case Kind::kHello:
      least = sizeof(Hello), most = kHelloMax;
      break;
    case Kind::kProgram:
      least = 1, most = kProgramMax;
      break;
    case Kind::kParts:
      most = kPartsBytesMax;
      break;
    case Kind::kLimits:
      most = kLimitsMax * sizeof(Limit);
      break;
    case Kind::kStart:
      least = sizeof(Start) + sizeof(FormHead), most = kBodyMax;
      break;
    case Kind::kValue:
      least = sizeof(FormHead), most = kBodyMax;
      from_far = true;
      break;
    case Kind::kPush:
      least = sizeof(Push) + sizeof(FormHead), most = kBodyMax;
      break;
    case Kind::kForget:
      least = sizeof(std::uint64_t), most = kTextMax;
      break;
    case Kind::kPing:
    case Kind::kFetched:
    case Kind::kAgain:
      from_far = true;
      break;
    case Kind::kPark:
    case Kind::kLast:
      break;
    case Kind::kRenew:
      least = 1, most = kTicketMax;
      break;
    case Kind::kRenewed:
    case Kind::kStays:
    case Kind::kWaiting:
    case Kind::kNeed:
    case Kind::kAskParts:
    case Kind::kAllSaid:
      from_near = false, from_far = true;
      break;
    case Kind::kWelcome:
    case Kind::kRefused:
    case Kind::kOutput:
    case Kind::kForgotten:
      from_near = false, from_far = true, most = kTextMax;
      break;
    case Kind::kDone:
      least = sizeof(Done) + sizeof(FormHead), most = kBodyMax;
      from_near = false, from_far = true;
      break;
    default:
      return "a frame of no known kind";
  }
  if (near ? !from_near : !from_far) return "a frame that this half does not send";
  if (head.bytes < least || head.bytes > most) return "a frame whose size is out of bounds";
  return {};
}

// Empty, or what is wrong with a form of `bytes` bytes that begins with `head`.
inline std::string CheckForm(const FormHead& head, std::uint64_t bytes) {
  if (head.payload_bytes > kPayloadMax) return "a value whose own bytes are too many";
  if (head.marks > head.payload_bytes / kRefRecordBytes) return "a value with more records than bytes";
  const std::uint64_t fixed = sizeof(FormHead) + std::uint64_t{head.marks} * sizeof(FormMark) + head.payload_bytes;
  if (bytes < fixed || bytes - fixed != head.block_bytes) return "a value whose parts do not add up to its frame";
  return {};
}

// The marks must ascend without overlap and stay inside; the blocks' sizes must add up.
inline std::string CheckMarks(const FormHead& head, const FormMark* marks) {
  std::uint64_t at = 0, blocks = 0;
  for (std::uint32_t i = 0; i < head.marks; ++i) {
    const bool ref = marks[i].offset & kMarkRef;
    const std::uint64_t offset = marks[i].offset & ~kMarkRef;
    if (offset < at) return "a value whose records overlap";
    at = offset + (ref ? kRefRecordBytes : kBlockRecordBytes);
    if (at > head.payload_bytes) return "a value whose record lies outside of it";
    if (ref) continue;
    if (marks[i].element > kBlockOffered || (marks[i].element == kBlockOffered && marks[i].value != sizeof(BlockOffer)))
      return "a value whose block is offered in no known way";
    if (marks[i].value > head.block_bytes - blocks) return "a value whose blocks are larger than its frame";
    blocks += marks[i].value;
  }
  return blocks == head.block_bytes ? std::string() : "a value whose blocks are smaller than its frame";
}

}  // namespace sheaf::relay
