#include "worker/relay/transfer_desk.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <thread>
#include <utility>
#include <vector>

#include "base/packet_socket.h"

namespace sheaf::relay {
namespace {

constexpr auto kAnswerMax = std::chrono::milliseconds(500);

}  // namespace

TransferDesk::TransferDesk(const std::string& path) {
  sockaddr_un server{};
  server.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof server.sun_path) return;
  std::memcpy(server.sun_path, path.data(), path.size());
  Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!socket || connect(socket.get(), reinterpret_cast<sockaddr*>(&server), sizeof server) != 0) return;
  socket_ = std::make_shared<Fd>(std::move(socket));
  // It holds the socket, not this object's fate: a desk lives as long as its process.
  std::thread([this, held = socket_] { ReadLoop(held->get()); }).detach();
}

void TransferDesk::ReadLoop(int socket) {
  Packet packet;
  while (ReceivePacket(socket, sizeof(NotePacket), true, &packet) == PacketResult::kOk) {
    NotePacket note{};
    if (packet.bytes.size() != sizeof note) break;
    std::memcpy(&note, packet.bytes.data(), sizeof note);
    detail::Pin over;  // let go outside of the lock
    std::lock_guard lock(mutex_);
    if (note.kind == Note::kHere) {
      address_ = ReadAddress(note.address);
      here_ = true;
      answered_.notify_all();
      continue;
    }
    const auto entry = entries_.find(note.token);
    if (entry == entries_.end()) continue;
    if (note.kind == Note::kWithdrawn) {
      over = std::move(entry->second.pin);
      entries_.erase(entry);
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
  socket_ = nullptr;
  here_ = true;
  address_.clear();
  over.swap(entries_);  // the server is gone, and its mappings with it
  answered_.notify_all();
}

std::string TransferDesk::address() {
  std::unique_lock lock(mutex_);
  if (socket_) answered_.wait_for(lock, kAnswerMax, [this] { return here_; });
  return address_;
}

// mutex_ held: packets of one offer keep their order. A server that does not keep up is given up: it takes back what it was offered, and
// hangs up once nobody reads; until then the pins stay.
bool TransferDesk::Send(const NotePacket& note, int fd) {
  if (!socket_) return false;
  const std::span<const int> fds(&fd, fd >= 0 ? 1 : 0);
  if (SendPacket(socket_->get(), std::as_bytes(std::span(&note, 1)), fds, false) == PacketResult::kOk) return true;
  GiveUp();
  return false;
}

void TransferDesk::GiveUp() {
  if (!socket_) return;
  shutdown(socket_->get(), SHUT_WR);
  socket_ = nullptr;  // the reader still has it
  address_.clear();
}

std::optional<BlockOffer> TransferDesk::Offer(int fd, std::uint64_t offset, std::uint64_t size, detail::Pin pin,
                                              Token* token) {
  std::unique_lock lock(mutex_);
  if (!socket_) return std::nullopt;
  *token = ++last_;
  entries_[*token].pin = std::move(pin);
  const NotePacket note{kTransferMagic, Note::kOffer, *token, {}, offset, size, size, 0, {}};
  bool ok = Send(note, fd) && answered_.wait_for(lock, kAnswerMax, [&] {
    const auto entry = entries_.find(*token);
    return here_ && (entry == entries_.end() || entry->second.answered);
  });
  const auto entry = entries_.find(*token);
  ok = ok && entry != entries_.end() && !entry->second.refused && !address_.empty();
  if (ok) return BlockOffer{entry->second.key, size, WriteAddress(address_)};
  if (entry == entries_.end()) return std::nullopt;
  entry->second.refused ? void(entries_.erase(entry)) : GiveUp();
  return std::nullopt;
}

TransferDesk::Token TransferDesk::OfferPart(const Key& key, int fd, std::uint64_t offset, std::uint64_t size,
                                            std::uint64_t member, detail::Pin pin) {
  std::lock_guard lock(mutex_);
  const Token token = ++last_;
  entries_[token].pin = std::move(pin);
  if (Send({kTransferMagic, Note::kOffer, token, key, offset, size, 0, member, {}}, fd)) return token;
  return 0;
}

void TransferDesk::Progress(Token token, std::uint64_t ready) {
  std::lock_guard lock(mutex_);
  const auto entry = entries_.find(token);
  if (entry == entries_.end() || entry->second.refused) return;
  Send({kTransferMagic, Note::kProgress, token, {}, 0, 0, ready, 0, {}}, -1);
}

void TransferDesk::Withdraw(Token token) {
  detail::Pin over;
  std::lock_guard lock(mutex_);
  const auto entry = entries_.find(token);
  if (entry == entries_.end()) return;
  if (entry->second.refused) {
    over = std::move(entry->second.pin);
    entries_.erase(entry);
  } else {
    Send({kTransferMagic, Note::kWithdraw, token, {}, 0, 0, 0, 0, {}}, -1);
  }
}

}  // namespace sheaf::relay
