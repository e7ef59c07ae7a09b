#include "worker/relay/transfer_desk.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/packet_socket.h"

namespace sheaf::relay {
namespace {

constexpr auto kAnswerMax = std::chrono::milliseconds(500);
constexpr std::int64_t kAgainNanos = 1'000'000'000, kAgainAfterSlowNanos = 30'000'000'000;

}  // namespace

TransferDesk::TransferDesk(const std::string& path) : path_(path) { Connect(); }

void TransferDesk::Connect() {
  sockaddr_un server{};
  server.sun_family = AF_UNIX;
  if (path_.empty() || path_.size() >= sizeof server.sun_path) return;
  again_ = NowNanos() + kAgainNanos;
  std::memcpy(server.sun_path, path_.data(), path_.size());
  Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  // Not even for a place in its queue.
  const timeval moment{0, 1000};
  if (!socket || setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &moment, sizeof moment) != 0 ||
      connect(socket.get(), reinterpret_cast<sockaddr*>(&server), sizeof server) != 0)
    return;
  line_ = std::make_shared<Line>(std::move(socket));
  // It holds the line, not this object's fate: a desk lives as long as its process.
  std::thread([this, held = line_] { ReadLoop(held); }).detach();
}

void TransferDesk::ReadLoop(const std::shared_ptr<Line>& line) {
  Packet packet;
  while (ReceivePacket(line->socket.get(), sizeof(NotePacket), true, &packet) == PacketResult::kOk) {
    NotePacket note{};
    if (packet.bytes.size() != sizeof note) break;
    std::memcpy(&note, packet.bytes.data(), sizeof note);
    detail::Pin over;  // let go outside of the lock
    std::lock_guard lock(mutex_);
    if (note.kind == Note::kHere) {
      line->address = ReadAddress(note.address);
      line->here = true;
      answered_.notify_all();
      continue;
    }
    const auto entry = line->entries.find(note.token);
    if (entry == line->entries.end()) continue;
    if (note.kind == Note::kWithdrawn) {
      over = std::move(entry->second.pin);
      line->entries.erase(entry);
      continue;
    }
    entry->second.answered = true;
    entry->second.refused = note.kind != Note::kOffered;
    entry->second.key = note.key;
    if (entry->second.refused) over = std::move(entry->second.pin);
    answered_.notify_all();
  }
  std::map<Token, Entry> over;
  std::lock_guard lock(mutex_);
  if (line_ == line) {
    line_ = nullptr;
    again_ = NowNanos() + kAgainNanos;
  }
  line->here = true;
  over.swap(line->entries);  // the server is gone, and its mappings with it
  answered_.notify_all();
}

std::string TransferDesk::address() {
  std::unique_lock lock(mutex_);
  if (!line_ && NowNanos() >= again_) {
    Connect();
    return {};  // from the next value on
  }
  const std::shared_ptr<Line> line = line_;
  if (line && last_ == 0) answered_.wait_for(lock, kAnswerMax, [&] { return line->here; });
  return line_ == line && line && line->here ? line->address : std::string();
}

TransferDesk::Entry* TransferDesk::Find(Token token) {
  if (!line_) return nullptr;
  const auto entry = line_->entries.find(token);
  return entry == line_->entries.end() ? nullptr : &entry->second;
}

// Packets of one offer keep their order. A server that does not keep up is given up: it takes back what it was offered, and hangs up
// once nobody reads; until then the pins stay.
bool TransferDesk::Send(const NotePacket& note, int fd) {
  if (!line_) return false;
  const std::span<const int> fds(&fd, fd >= 0 ? 1 : 0);
  if (SendPacket(line_->socket.get(), std::as_bytes(std::span(&note, 1)), fds, false) == PacketResult::kOk) return true;
  GiveUp();
  return false;
}

void TransferDesk::GiveUp() {
  if (!line_) return;
  shutdown(line_->socket.get(), SHUT_WR);
  line_ = nullptr;  // the reader still has it
  again_ = NowNanos() + kAgainAfterSlowNanos;
}

std::optional<BlockOffer> TransferDesk::Offer(int fd, std::uint64_t offset, std::uint64_t size, detail::Pin pin,
                                              Token* token) {
  std::unique_lock lock(mutex_);
  const std::shared_ptr<Line> line = line_;
  if (!line) return std::nullopt;
  *token = ++last_;
  line->entries[*token].pin = std::move(pin);
  const NotePacket note{kTransferMagic, Note::kOffer, *token, {}, offset, size, size, 0, {}};
  bool ok = Send(note, fd) && answered_.wait_for(lock, kAnswerMax, [&] {
    const auto entry = line->entries.find(*token);
    return line->here && (entry == line->entries.end() || entry->second.answered);
  });
  const auto entry = line->entries.find(*token);
  ok = ok && entry != line->entries.end() && !entry->second.refused && !line->address.empty();
  if (ok) return BlockOffer{entry->second.key, size, WriteAddress(line->address)};
  if (entry == line->entries.end()) return std::nullopt;
  if (entry->second.refused) {
    line->entries.erase(entry);
  } else if (line_ == line) {
    GiveUp();
  }
  return std::nullopt;
}

TransferDesk::Token TransferDesk::OfferPart(const Key& key, int fd, std::uint64_t offset, std::uint64_t size,
                                            std::uint64_t member, detail::Pin pin) {
  std::lock_guard lock(mutex_);
  if (!line_) return 0;
  const Token token = ++last_;
  line_->entries[token].pin = std::move(pin);
  if (Send({kTransferMagic, Note::kOffer, token, key, offset, size, 0, member, {}}, fd)) return token;
  return 0;
}

void TransferDesk::Progress(Token token, std::uint64_t ready) {
  std::lock_guard lock(mutex_);
  const Entry* entry = Find(token);
  if (!entry || entry->refused) return;
  Send({kTransferMagic, Note::kProgress, token, {}, 0, 0, ready, 0, {}}, -1);
}

void TransferDesk::Withdraw(Token token) {
  detail::Pin over;
  std::lock_guard lock(mutex_);
  Entry* entry = Find(token);
  if (!entry) return;
  if (entry->refused) {
    over = std::move(entry->pin);
    line_->entries.erase(token);
  } else {
    Send({kTransferMagic, Note::kWithdraw, token, {}, 0, 0, 0, 0, {}}, -1);
  }
}

}  // namespace sheaf::relay
