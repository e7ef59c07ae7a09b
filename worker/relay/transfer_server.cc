#include "worker/relay/transfer_server.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstdio>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <tuple>
#include <vector>

#include "base/packet_socket.h"
#include "worker/relay/checksum.h"
#include "worker/relay/connect.h"
#include "worker/relay/directory.h"
#include "worker/relay/transfer_frame.h"

namespace sheaf::relay {
namespace {

constexpr std::size_t kOffersMax = 4096;  // of one half
constexpr std::size_t kOffersInAll = 16'384;
constexpr int kHalvesMax = 512, kFetchersMax = 512;
constexpr auto kLaterEvery = std::chrono::milliseconds(200);

// Bytes of a descriptor, mapped; the mapping begins at a page.
class Window {
 public:
  Window() = default;
  Window(const Window&) = delete;
  ~Window() {
    if (base_ != MAP_FAILED) munmap(base_, bytes_);
  }
  bool Map(int fd, std::uint64_t offset, std::uint64_t size) {
    const std::uint64_t page = static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE)), first = offset / page * page;
    bytes_ = offset - first + size;
    base_ = mmap(nullptr, bytes_, PROT_READ, MAP_SHARED, fd, static_cast<off_t>(first));
    data_ = base_ == MAP_FAILED ? nullptr : static_cast<const std::byte*>(base_) + (offset - first);
    return data_ != nullptr;
  }
  const std::byte* data() const { return data_; }

 private:
  void* base_ = MAP_FAILED;
  std::uint64_t bytes_ = 0;
  const std::byte* data_ = nullptr;
};

struct Half {  // a process of this machine that offers
  explicit Half(Fd fd) : socket(std::move(fd)) {}
  const Fd socket;
  std::mutex sending;
  void Send(const NotePacket& packet) {
    std::lock_guard lock(sending);
    // One that does not read is done with: its thread sees the end, and takes back what it offered.
    if (SendPacket(socket.get(), std::as_bytes(std::span(&packet, 1)), {}, false) != PacketResult::kOk)
      shutdown(socket.get(), SHUT_RD);
  }
};

using Place = std::tuple<dev_t, ino_t, std::uint64_t, std::uint64_t>;  // device, inode, offset, size

struct Offer {
  std::shared_ptr<Half> half;
  std::uint64_t token = 0;
  Key key{};
  std::uint64_t member = 0;
  Place place{};
  bool first = false;  // of this machine's own key: its place has a directory
  Window window;
  std::uint64_t size = 0, ready = 0;
  int readers = 0;
  bool withdrawn = false;
};

struct Origin {
  Key key{};
  int offers = 0;
  Directory directory;
};

class TransferServer {
 public:
  explicit TransferServer(const TransferServerOptions& options) : options_(options) {}
  int Run();

 private:
  void ServeHalf(Fd socket);
  void ServeFetcher(Fd socket);
  bool Take(const std::shared_ptr<Half>& half, const NotePacket& note, const std::vector<Fd>& fds, NotePacket* answer);
  void Withdraw(const std::shared_ptr<Offer>& offer);
  void WithdrawTheDead(const Place& place);
  std::shared_ptr<Offer> Find(const Key& key, std::uint64_t reader);
  bool Answer(Stream& stream, const AskFrame& ask);
  enum class Sent { kAll, kAgain, kBroken };
  Sent SendFrom(Stream& stream, Offer& offer, std::uint64_t* at, std::uint64_t end);
  bool SendRange(Stream& stream, const AskFrame& ask);
  bool Locate(Stream& stream, const AskFrame& ask);
  Origin* OriginOf(const Key& key);

  const TransferServerOptions options_;
  std::mutex mutex_;
  std::condition_variable changed_;  // progress, and offers that end
  std::vector<std::shared_ptr<Offer>> offers_;
  std::map<Place, Origin> origins_;
  std::atomic<int> connections_[2] = {};  // halves, fetchers
};

bool WriteSay(Stream& stream, Say kind, std::uint64_t number = 0, const std::string& address = {}) {
  SayFrame say{kTransferMagic, kind, number, 0, 0, WriteAddress(address)};
  iovec piece{&say, sizeof say};
  return stream.Write(&piece, 1);
}

// ---- halves -----------------------------------------------------------------------------------------------------

void TransferServer::Withdraw(const std::shared_ptr<Offer>& offer) {
  if (std::exchange(offer->withdrawn, true)) return;
  std::erase(offers_, offer);
  if (offer->first) {
    const auto origin = origins_.find(offer->place);
    if (origin != origins_.end() && --origin->second.offers == 0) origins_.erase(origin);
  }
  changed_.notify_all();
}

// A half that is gone may have left its memory to other bytes, before its thread here has noticed.
void TransferServer::WithdrawTheDead(const Place& place) {
  std::vector<std::shared_ptr<Offer>> dead;
  for (const auto& offer : offers_) {
    if (!offer->first || offer->place != place) continue;
    pollfd state{offer->half->socket.get(), POLLRDHUP, 0};
    if (poll(&state, 1, 0) == 1) dead.push_back(offer);
  }
  for (const auto& offer : dead) Withdraw(offer);
}

// False: it breaks the protocol. `answer`: what to say, if its kind is not kPing's.
bool TransferServer::Take(const std::shared_ptr<Half>& half, const NotePacket& note, const std::vector<Fd>& fds,
                          NotePacket* answer) {
  *answer = {kTransferMagic, Note::kRefused, note.token, {}, 0, 0, 0, 0, {}};
  std::unique_lock lock(mutex_);
  const auto found = std::find_if(offers_.begin(), offers_.end(), [&](const std::shared_ptr<Offer>& offer) {
    return offer->half == half && offer->token == note.token;
  });
  if (note.kind == Note::kOffer) {
    if (fds.size() != 1 || found != offers_.end() || note.size == 0 || note.size > kBlockMax ||
        note.offset > kBlockMax || note.ready > note.size)
      return false;
    struct stat info{};
    const int seals = fcntl(fds[0].get(), F_GET_SEALS);
    // Nobody may take the pages away while they are read here.
    if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(fds[0].get(), &info) != 0 ||
        note.offset + note.size > static_cast<std::uint64_t>(info.st_size))
      return true;
    if (note.size < kOfferMin || offers_.size() >= kOffersInAll) return true;
    const auto mine = std::count_if(offers_.begin(), offers_.end(), [&](const auto& at) { return at->half == half; });
    if (static_cast<std::size_t>(mine) >= kOffersMax) return true;
    auto offer = std::make_shared<Offer>();
    offer->half = half;
    offer->token = note.token;
    offer->place = {info.st_dev, info.st_ino, note.offset, note.size};
    offer->size = note.size;
    offer->ready = note.ready;
    offer->key = note.key;
    offer->member = note.member;
    offer->first = KeyIsEmpty(note.key);
    if (!offer->window.Map(fds[0].get(), note.offset, note.size)) return true;
    if (offer->first) {
      WithdrawTheDead(offer->place);
      Origin& origin = origins_[offer->place];
      if (origin.offers++ == 0 && getrandom(origin.key.data(), origin.key.size(), 0) != sizeof origin.key) {
        origins_.erase(offer->place);
        return true;
      }
      offer->key = origin.key;
    }
    offers_.push_back(offer);
    answer->kind = Note::kOffered;
    answer->key = offer->key;
    return true;
  }
  answer->kind = Note::kWithdrawn;
  if (found == offers_.end()) {  // it was refused, and the half had yet to hear so
    if (note.kind != Note::kWithdraw) answer->kind = Note::kProgress;
    return true;
  }
  const std::shared_ptr<Offer> offer = *found;
  if (note.kind == Note::kProgress) {
    if (note.ready < offer->ready || note.ready > offer->size) return false;
    offer->ready = note.ready;
    changed_.notify_all();
    answer->kind = Note::kProgress;  // nothing to say
    return true;
  }
  if (note.kind != Note::kWithdraw) return false;
  Withdraw(offer);
  if (offer->readers > 0) answer->kind = Note::kProgress;  // the last reader says it
  return true;
}

void TransferServer::ServeHalf(Fd socket) {
  auto half = std::make_shared<Half>(std::move(socket));
  half->Send({kTransferMagic, Note::kHere, 0, {}, 0, 0, 0, 0, WriteAddress(options_.address)});
  Packet packet;
  while (ReceivePacket(half->socket.get(), sizeof(NotePacket), true, &packet) == PacketResult::kOk) {
    NotePacket note{}, answer{};
    if (packet.bytes.size() != sizeof note) break;
    std::memcpy(&note, packet.bytes.data(), sizeof note);
    if (note.magic != kTransferMagic || !Take(half, note, packet.fds, &answer)) break;
    packet = {};
    if (answer.kind != Note::kProgress) half->Send(answer);
  }
  std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<Offer>> over;
  for (const auto& offer : offers_)
    if (offer->half == half) over.push_back(offer);
  for (const auto& offer : over) Withdraw(offer);
}

// ---- fetchers ---------------------------------------------------------------------------------------------------

// Not the reader's own copy: it would wait for itself.
std::shared_ptr<Offer> TransferServer::Find(const Key& key, std::uint64_t reader) {
  std::shared_ptr<Offer> best;
  for (const auto& offer : offers_)
    if (offer->key == key && (reader == 0 || offer->member != reader) && (!best || offer->ready > best->ready))
      best = offer;
  return best;
}

Origin* TransferServer::OriginOf(const Key& key) {
  for (auto& [place, origin] : origins_)
    if (origin.key == key) return &origin;
  return nullptr;
}

bool TransferServer::Locate(Stream& stream, const AskFrame& ask) {
  Directory::Holder holder;
  bool found = false;
  {
    std::lock_guard lock(mutex_);
    if (Origin* origin = OriginOf(ask.key))
      found = origin->directory.Locate(ask.member, ReadAddress(ask.address), ask.offset, &holder);
  }
  return found ? WriteSay(stream, Say::kHolder, holder.member, holder.address) : WriteSay(stream, Say::kGone);
}

// Sends from *at on what `offer` has, until *at is `end`, the stream is over (kBroken) or the offer is.
TransferServer::Sent TransferServer::SendFrom(Stream& stream, Offer& offer, std::uint64_t* at, std::uint64_t end) {
  while (*at < end) {
    const std::uint64_t part = std::min(end, *at + kPartMax);
    {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, kLaterEvery, [&] { return offer.withdrawn || offer.ready >= part; });
      if (offer.withdrawn) return Sent::kAgain;
      if (offer.ready < part) {
        lock.unlock();
        return WriteSay(stream, Say::kLater) ? Sent::kAgain : Sent::kBroken;  // perhaps another has more by now
      }
    }
    const std::byte* data = offer.window.data() + *at;
    const std::uint64_t checksum = stream.Authenticates() ? 0 : Checksum(data, part - *at);
    SayFrame say{kTransferMagic, Say::kPart, *at, part - *at, checksum, {}};
    iovec pieces[2] = {{&say, sizeof say}, {const_cast<std::byte*>(data), part - *at}};
    if (!stream.Write(pieces, 2)) return Sent::kBroken;
    *at = part;
  }
  return Sent::kAll;
}

bool TransferServer::SendRange(Stream& stream, const AskFrame& ask) {
  std::uint64_t at = ask.offset;
  for (;;) {
    std::shared_ptr<Offer> offer;
    {
      std::lock_guard lock(mutex_);
      offer = Find(ask.key, ask.member);
      if (offer) ++offer->readers;
    }
    if (!offer) return WriteSay(stream, Say::kGone);
    const bool inside = ask.offset + ask.size <= offer->size;
    const Sent sent = inside ? SendFrom(stream, *offer, &at, ask.offset + ask.size) : Sent::kBroken;
    bool last = false;
    {
      std::lock_guard lock(mutex_);
      last = --offer->readers == 0 && offer->withdrawn;
    }
    if (last) offer->half->Send({kTransferMagic, Note::kWithdrawn, offer->token, {}, 0, 0, 0, 0, {}});
    if (sent != Sent::kAgain) return sent == Sent::kAll;
    // Another half of this machine may offer the same.
  }
}

bool TransferServer::Answer(Stream& stream, const AskFrame& ask) {
  switch (ask.kind) {
    case Ask::kLocate:
      return Locate(stream, ask);
    case Ask::kDone: {
      std::lock_guard lock(mutex_);
      if (Origin* origin = OriginOf(ask.key)) origin->directory.Done(ask.member);
      return true;
    }
    case Ask::kRead:
      return SendRange(stream, ask);
    case Ask::kPing:
      return true;
  }
  return false;
}

void TransferServer::ServeFetcher(Fd socket) {
  std::string peer, why;
  auto transport = Secure(std::move(socket), false, options_.pki, &peer, &why);
  if (!transport) {
    std::fprintf(stderr, "sheaf pool: a transfer was refused: %s\n", why.c_str());
    return;
  }
  Stream stream(std::move(transport));
  AskFrame ask{};
  Key located{};
  std::uint64_t member = 0;
  while (stream.Read(&ask, sizeof ask)) {
    why = CheckAsk(ask);
    // One connection speaks for one fetcher.
    if (why.empty() && ask.kind == Ask::kLocate && member != 0 && (ask.member != member || ask.key != located))
      why = "another name on the same connection";
    if (why.empty() && ask.kind == Ask::kDone && (ask.member != member || ask.key != located))
      why = "the end of what was not begun";
    if (!why.empty()) {
      std::fprintf(stderr, "sheaf pool: a transfer was cut off: %s\n", why.c_str());
      break;
    }
    if (ask.kind == Ask::kLocate) member = ask.member, located = ask.key;
    if (!Answer(stream, ask)) break;
  }
  if (member == 0) return;
  std::lock_guard lock(mutex_);
  if (Origin* origin = OriginOf(located)) origin->directory.Leave(member);
}

int TransferServer::Run() {
  sockaddr_un own{};
  own.sun_family = AF_UNIX;
  if (options_.path.size() >= sizeof own.sun_path) {
    std::fprintf(stderr, "sheaf pool: large values go in the relays' streams: %s is too long for a socket's name\n",
                 options_.path.c_str());
    return 0;
  }
  std::memcpy(own.sun_path, options_.path.data(), options_.path.size());
  const Fd halves(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  unlink(options_.path.c_str());
  const mode_t mask = umask(0177);
  const bool bound = halves && bind(halves.get(), reinterpret_cast<sockaddr*>(&own), sizeof own) == 0;
  umask(mask);
  if (!bound || listen(halves.get(), 64) != 0) {
    std::perror("sheaf pool: the transfer server cannot listen");
    return 1;
  }
  pollfd waits[3] = {{halves.get(), POLLIN, 0}, {options_.listener, POLLIN, 0}, {options_.pool, POLLIN, 0}};
  for (;;) {
    if (poll(waits, 3, -1) < 0 && errno != EINTR) return 1;
    if (waits[2].revents) break;  // the pool says nothing; this is its end
    for (const int which : {0, 1}) {
      if (!waits[which].revents) continue;
      Fd socket(accept4(waits[which].fd, nullptr, nullptr, SOCK_CLOEXEC));
      if (!socket || connections_[which].load() >= (which == 0 ? kHalvesMax : kFetchersMax)) continue;
      connections_[which].fetch_add(1);
      try {
        std::thread([this, which, taken = std::make_shared<Fd>(std::move(socket))] {
          try {
            which == 0 ? ServeHalf(std::move(*taken)) : ServeFetcher(std::move(*taken));
          } catch (const std::exception& error) {
            std::fprintf(stderr, "sheaf pool: a transfer was cut off: %s\n", error.what());
          }
          connections_[which].fetch_sub(1);
        }).detach();
      } catch (const std::exception&) {  // no threads, no memory: whoever called hangs up and takes the stream
        connections_[which].fetch_sub(1);
      }
    }
  }
  unlink(options_.path.c_str());
  std::fflush(nullptr);
  _exit(0);
}

}  // namespace

int ServeTransfers(const TransferServerOptions& options) { return TransferServer(options).Run(); }

}  // namespace sheaf::relay
