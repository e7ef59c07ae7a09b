// The near half of a relay greets: it says what it brings, and sends what the other half does not have. The one thread of its process.
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "proto/local_wire.h"
#include "worker/relay/greeting.h"
#include "worker/relay/outgoing.h"
#include "worker/relay/relay_main.h"

namespace sheaf::relay {

void Fail(const std::string& why) {
  std::fprintf(stderr, "sheaf: %s\n", why.c_str());
  std::fflush(nullptr);
  _exit(kExitNoStream);
}

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

void SendFrame(Stream& stream, Kind kind, std::uint64_t number, std::string_view body) {
  Outgoing out;
  out.Begin(kind, number);
  out.Raw(body.data(), body.size());
  out.End();
  if (!out.Flush(stream)) Fail("the other pool hung up");
}

// No other machine could do better: the pool asks for none any more.
[[noreturn]] static void StayHere(const std::string& why) {
  std::fprintf(stderr, "sheaf: this job cannot run on other machines: %s\n", why.c_str());
  std::fflush(nullptr);
  _exit(kExitCannotTravel);
}

Parcel Pack(const std::string& identity, const std::vector<std::string>& arguments) {
  Parcel parcel;
  Hello& hello = parcel.hello;
  const std::string notes = CopyDirectory();
  std::istringstream words(identity);
  for (std::uint64_t& word : hello.identity) words >> std::hex >> word;
  Hash hash{};
  if (!HashFile(kRelayFd, notes, &hash, &hello.program_bytes)) Fail("the job's executable cannot be read");
  std::memcpy(hello.program_hash, hash.data(), hash.size());
  hello.version = kVersion;
  char directory[4096] = "/";
  if (!getcwd(directory, sizeof directory)) std::strcpy(directory, "/");
  const auto add = [&parcel](const char* text) { parcel.description.append(text).push_back('\0'); };
  add(directory);
  for (const std::string& text : arguments) add(text.c_str());
  hello.arguments = static_cast<std::uint32_t>(arguments.size());
  for (char** entry = environ; *entry; ++entry) {
    const std::string_view text(*entry);
    // What was declared holds over there, too; the rest is that machine's to say.
    if (text.starts_with(wire::kJobEnvironment) && !text.starts_with(wire::kFilesEnvironment) &&
        !text.starts_with(wire::kNeedsEnvironment))
      continue;
    add(*entry);
    ++hello.environment;
  }
  hello.description_bytes = static_cast<std::uint32_t>(parcel.description.size());
  if (const char* libraries = std::getenv(wire::kLibrariesEnvironment)) {
    const std::string why = FindLibraries(libraries, notes, &parcel.parts);
    if (!why.empty()) StayHere(why);
  }
  if (const char* files = std::getenv(wire::kFilesEnvironment)) {
    const std::string why = FindFiles(files, notes, &parcel.parts);
    if (!why.empty()) StayHere(why);
  }
  if (const char* limits = std::getenv(wire::kLimitsEnvironment)) {
    const auto parsed = ParseSoftLimits(limits);
    if (!parsed) StayHere("its limits make no sense");
    parcel.limits = *parsed;
  }
  return parcel;
}

namespace {

void SendBytes(Stream& stream, std::uint64_t number, int file, std::uint64_t bytes, const std::string& what) {
  Head head{kMagic, Kind::kProgram, number, bytes};
  iovec piece{&head, sizeof head};
  bool ok = stream.Write(&piece, 1);
  std::vector<char> buffer(1 << 20);
  for (std::uint64_t at = 0; ok && at < bytes;) {
    const ssize_t got =
        pread(file, buffer.data(), std::min<std::uint64_t>(buffer.size(), bytes - at), static_cast<off_t>(at));
    if (got <= 0) Fail(what + " cannot be read any more");
    iovec part{buffer.data(), static_cast<std::size_t>(got)};
    ok = stream.Write(&part, 1);
    at += static_cast<std::uint64_t>(got);
  }
  if (!ok) Fail("the other pool hung up while " + what + " was sent");
}

void SendNeeded(Stream& stream, std::uint64_t number, const Parcel& parcel) {
  if (number == 0) return SendBytes(stream, 0, kRelayFd, parcel.hello.program_bytes, "the job's executable");
  if (number > parcel.parts.size()) Fail("the other pool wants what it was not offered");
  const TravelPart& part = parcel.parts[number - 1];
  const Fd file(open(part.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file) Fail(part.path + " cannot be read any more");
  SendBytes(stream, number, file.get(), part.bytes, part.path);
}

}  // namespace

Host Greet(Stream& stream, const std::string& ticket, Parcel parcel) {
  Hello& hello = parcel.hello;
  hello.ticket_bytes = static_cast<std::uint32_t>(ticket.size());
  SendFrame(stream, Kind::kHello, 0,
            std::string(reinterpret_cast<const char*>(&hello), sizeof hello) + ticket + parcel.description);
  for (;;) {
    const Head head = ReadHead(stream, false);
    switch (head.kind) {
      case Kind::kPing:
        break;
      case Kind::kRefused:
        Fail("the other pool refused this job: " + ReadText(stream, head));
      case Kind::kAskParts:
        SendFrame(stream, Kind::kParts, 0, PackParts(parcel.parts));
        SendFrame(stream, Kind::kLimits, 0, PackLimits(parcel.limits));
        break;
      case Kind::kNeed:
        SendNeeded(stream, head.number, parcel);
        break;
      case Kind::kWelcome:
        return {ReadText(stream, head), head.number};
      default:
        Fail("the other pool answered out of turn");
    }
  }
}

}  // namespace sheaf::relay
