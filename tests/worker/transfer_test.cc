// Bytes that travel beside the relays: offered, fetched in ranges, passed on by those who receive them, and never wrong.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "worker/relay/checksum.h"
#include "worker/relay/connect.h"
#include "worker/relay/fetch.h"
#include "worker/relay/transfer_desk.h"
#include "worker/relay/transfer_server.h"

namespace sheaf::relay {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;

Fd ListenHere(std::string* address) {
  Fd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in own{};
  own.sin_family = AF_INET;
  own.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof own;
  EXPECT_EQ(bind(socket.get(), reinterpret_cast<sockaddr*>(&own), sizeof own), 0);
  EXPECT_EQ(listen(socket.get(), 16), 0);
  getsockname(socket.get(), reinterpret_cast<sockaddr*>(&own), &size);
  *address = "127.0.0.1:" + std::to_string(ntohs(own.sin_port));
  return socket;
}

// The server of one machine, in a process of its own.
class Machine {
 public:
  explicit Machine(const std::string& path) : path_(path) {
    const Fd listener = ListenHere(&address_);
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    own_ = Fd(ends[0]);
    pid_ = fork();
    if (pid_ == 0) {
      close(ends[0]);
      _exit(ServeTransfers({listener.get(), ends[1], path, address_, ""}));
    }
    close(ends[1]);
    while (!Listens()) sched_yield();
  }
  ~Machine() { Kill(); }
  void Kill() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }
  // Until each of its threads waits for something, and has for a while: one that sends has filled what the sockets hold.
  void AwaitRest() const {
    for (int quiet = 0; quiet < 50; ++quiet) {
      for (const auto& task : std::filesystem::directory_iterator("/proc/" + std::to_string(pid_) + "/task")) {
        std::string line;
        std::getline(std::ifstream(task.path() / "stat"), line);
        if (line.find(") S ") == std::string::npos) quiet = -1;
      }
      sched_yield();
    }
  }
  const std::string& address() const { return address_; }
  const std::string& path() const { return path_; }

 private:
  // Its name is there a moment before it listens.
  bool Listens() const {
    sockaddr_un own{};
    own.sun_family = AF_UNIX;
    path_.copy(own.sun_path, sizeof own.sun_path - 1);
    const Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    return connect(socket.get(), reinterpret_cast<sockaddr*>(&own), sizeof own) == 0;
  }

  std::string path_, address_;
  Fd own_;
  pid_t pid_ = 0;
};

// Memory as a segment is: of a descriptor that cannot shrink.
class Segment {
 public:
  explicit Segment(std::uint64_t bytes, bool sealed = true) : bytes_(bytes) {
    fd_ = Fd(memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    EXPECT_EQ(ftruncate(fd_.get(), static_cast<off_t>(bytes)), 0);
    const int seals = sealed ? F_SEAL_SHRINK | F_SEAL_GROW : 0;
    EXPECT_EQ(fcntl(fd_.get(), F_ADD_SEALS, seals), 0);
    data_ = static_cast<std::byte*>(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0));
  }
  ~Segment() { munmap(data_, bytes_); }
  void Fill(std::uint64_t seed) {
    for (std::uint64_t i = 0; i < bytes_ / 8; ++i) {
      const std::uint64_t word = (i + seed) * 0x9e3779b97f4a7c15u;
      std::memcpy(data_ + i * 8, &word, 8);
    }
  }
  std::byte* data() const { return data_; }
  std::uint64_t bytes() const { return bytes_; }
  int fd() const { return fd_.get(); }

 private:
  std::uint64_t bytes_;
  Fd fd_;
  std::byte* data_ = nullptr;
};

class TransferTest : public testing::Test {
 protected:
  TransferTest() {
    char name[] = "/tmp/sheaf-transfer-test-XXXXXX";
    directory_ = mkdtemp(name);
    source_ = NewMachine("source");
    block_.Fill(1);
    desk_ = new TransferDesk(source_->path());  // lives as long as its process, as in a relay
    const auto offer = desk_->Offer(block_.fd(), 0, block_.bytes(), {}, &token_);
    EXPECT_TRUE(offer);
    if (offer) offer_ = *offer;
  }
  ~TransferTest() override { std::filesystem::remove_all(directory_); }
  std::unique_ptr<Machine> NewMachine(const std::string& name) {
    return std::make_unique<Machine>(directory_ + "/" + name);
  }
  bool Fetch(std::byte* to, std::string* why, const std::string& own = {}) {
    return FetchBlock(offer_, to, {"", own, 2, 77}, [](std::uint64_t) {}, why);
  }
  bool SameAsSource(const std::byte* bytes) { return std::memcmp(bytes, block_.data(), block_.bytes()) == 0; }
  std::unique_ptr<Stream> Connect(const std::string& address) {
    std::string peer, why;
    auto transport = Dial(address, "", &peer, &why);
    EXPECT_TRUE(transport) << why;
    return std::make_unique<Stream>(std::move(transport));
  }
  static bool Say(Stream& stream, const AskFrame& ask) {
    AskFrame copy = ask;
    iovec piece{&copy, sizeof copy};
    return stream.Write(&piece, 1);
  }
  AskFrame AskLocate(std::uint64_t member, const std::string& address) {
    return {kTransferMagic, Ask::kLocate, offer_.key, member, 0, 0, WriteAddress(address)};
  }
  AskFrame AskRead(std::uint64_t offset, std::uint64_t size) {
    return {kTransferMagic, Ask::kRead, offer_.key, 0, offset, size, {}};
  }

  std::string directory_;
  std::unique_ptr<Machine> source_;
  Segment block_{40 * kMiB};
  TransferDesk* desk_ = nullptr;
  TransferDesk::Token token_ = 0;
  BlockOffer offer_{};
};

TEST_F(TransferTest, BringsWhatWasOffered) {
  Segment here(block_.bytes());
  std::string why;
  std::uint64_t last = 0;
  EXPECT_TRUE(FetchBlock(
      offer_, here.data(), {"", "", 2, 77},
      [&](std::uint64_t ready) {
        EXPECT_GE(ready, last);
        last = ready;
        EXPECT_EQ(std::memcmp(here.data(), block_.data(), ready), 0);
      },
      &why))
      << why;
  EXPECT_EQ(last, block_.bytes());
  EXPECT_TRUE(SameAsSource(here.data()));
}

TEST_F(TransferTest, GivesOneBlockOneKeyWhoeverOffersIt) {
  auto* other = new TransferDesk(source_->path());
  TransferDesk::Token token = 0;
  const auto same = other->Offer(block_.fd(), 0, block_.bytes(), {}, &token);
  ASSERT_TRUE(same);
  EXPECT_EQ(same->key, offer_.key);
  const auto part = other->Offer(block_.fd(), 8 * kMiB, 4 * kMiB, {}, &token);
  ASSERT_TRUE(part);
  EXPECT_NE(part->key, offer_.key);
  // The first to withdraw leaves the other's offer.
  desk_->Withdraw(token_);
  Segment here(block_.bytes());
  std::string why;
  EXPECT_TRUE(Fetch(here.data(), &why)) << why;
}

TEST_F(TransferTest, SendsTheNextReaderToTheOneThatIsStillReceiving) {
  const auto first = Connect(source_->address()), second = Connect(source_->address());
  SayFrame say{};
  ASSERT_TRUE(Say(*first, AskLocate(11, "127.0.0.1:11")) && first->Read(&say, sizeof say));
  EXPECT_EQ(ReadAddress(say.address), "");
  ASSERT_TRUE(Say(*second, AskLocate(12, "127.0.0.1:12")) && second->Read(&say, sizeof say));
  EXPECT_EQ(ReadAddress(say.address), "127.0.0.1:11");
}

TEST_F(TransferTest, ReadsFromAHolderThatIsStillReceiving) {
  const auto middle = NewMachine("middle");
  Segment part(block_.bytes());
  auto* desk = new TransferDesk(middle->path());
  const auto token = desk->OfferPart(offer_.key, part.fd(), 0, part.bytes(), 11, {});
  ASSERT_NE(token, 0u);
  const auto line = Connect(source_->address());
  SayFrame say{};
  ASSERT_TRUE(Say(*line, AskLocate(11, middle->address())) && line->Read(&say, sizeof say));
  // Only what is said to be there is read; the rest comes bit by bit.
  std::memset(part.data(), 0, part.bytes());
  std::thread feeds([&] {
    for (std::uint64_t at = 0; at < part.bytes(); at += 4 * kMiB) {
      std::memcpy(part.data() + at, block_.data() + at, 4 * kMiB);
      desk->Progress(token, at + 4 * kMiB);
      Say(*line, {kTransferMagic, Ask::kPing, offer_.key, 11, 0, 0, {}});
    }
  });
  Segment here(block_.bytes());
  std::string why;
  EXPECT_TRUE(Fetch(here.data(), &why)) << why;
  feeds.join();
  EXPECT_TRUE(SameAsSource(here.data()));
}

TEST_F(TransferTest, GoesOnFromTheSourceWhenAHolderDiesHalfway) {
  auto middle = NewMachine("middle");
  Segment part(block_.bytes());
  std::memcpy(part.data(), block_.data(), part.bytes());
  auto* desk = new TransferDesk(middle->path());
  const auto token = desk->OfferPart(offer_.key, part.fd(), 0, part.bytes(), 11, {});
  desk->Progress(token, 10 * kMiB);  // and no more
  const auto line = Connect(source_->address());
  SayFrame say{};
  ASSERT_TRUE(Say(*line, AskLocate(11, middle->address())) && line->Read(&say, sizeof say));
  Segment here(block_.bytes());
  std::string why;
  bool killed = false;
  EXPECT_TRUE(FetchBlock(
      offer_, here.data(), {"", "", 2, 77},
      [&](std::uint64_t ready) {
        if (ready >= 8 * kMiB && !std::exchange(killed, true)) middle->Kill();
      },
      &why))
      << why;
  EXPECT_TRUE(killed);
  EXPECT_TRUE(SameAsSource(here.data()));
}

TEST_F(TransferTest, AsksSomebodyElseForAPartWhoseChecksumIsWrong) {
  std::string address;
  const Fd listener = ListenHere(&address);
  const auto line = Connect(source_->address());
  SayFrame say{};
  ASSERT_TRUE(Say(*line, AskLocate(11, address)) && line->Read(&say, sizeof say));
  std::thread liar([&] {
    Stream stream(PlainTransport(Fd(accept(listener.get(), nullptr, nullptr))));
    AskFrame ask{};
    if (!stream.Read(&ask, sizeof ask)) return;
    std::vector<std::byte> wrong(kPartMax);
    SayFrame part{kTransferMagic, Say::kPart, ask.offset, kPartMax, Checksum(block_.data() + ask.offset, kPartMax), {}};
    iovec pieces[2] = {{&part, sizeof part}, {wrong.data(), wrong.size()}};
    stream.Write(pieces, 2);
  });
  Segment here(block_.bytes());
  std::string why;
  EXPECT_TRUE(Fetch(here.data(), &why)) << why;
  liar.join();
  EXPECT_TRUE(SameAsSource(here.data()));
}

TEST_F(TransferTest, AsksSomebodyElseWhenAHolderHasMoreAndHardlyGivesIt) {
  std::string address;
  const Fd listener = ListenHere(&address);
  const auto line = Connect(source_->address());
  SayFrame say{};
  ASSERT_TRUE(Say(*line, AskLocate(11, address)) && line->Read(&say, sizeof say));
  int served = 0;
  std::thread slow([&] {
    std::vector<std::thread> streams;
    for (int i = 0; i < 2; ++i) {
      Fd socket(accept(listener.get(), nullptr, nullptr));
      streams.emplace_back([&, socket = std::make_shared<Fd>(std::move(socket))] {
        Stream stream(PlainTransport(std::move(*socket)));
        AskFrame ask{};
        if (!stream.Read(&ask, sizeof ask)) return;
        SayFrame part{
            kTransferMagic, Say::kPart, ask.offset, kPartMax, Checksum(block_.data() + ask.offset, kPartMax), {}};
        iovec head{&part, sizeof part};
        stream.Write(&head, 1);
        // A byte at a time, until nobody listens any more.
        for (std::uint64_t at = 0; at < kPartMax; ++at) {
          iovec byte{block_.data() + ask.offset + at, 1};
          if (!stream.Write(&byte, 1)) break;
          poll(nullptr, 0, 1);
        }
      });
      ++served;
    }
    for (std::thread& stream : streams) stream.join();
  });
  Segment here(block_.bytes());
  std::string why;
  FetchOptions options{"", "", 2, 77};
  options.slow_nanos = 300'000'000;
  EXPECT_TRUE(FetchBlock(offer_, here.data(), options, [](std::uint64_t) {}, &why)) << why;
  slow.join();
  EXPECT_EQ(served, 2);
  EXPECT_TRUE(SameAsSource(here.data()));
}

TEST_F(TransferTest, SaysWhyWhenNothingIsOfferedAnyMore) {
  desk_->Withdraw(token_);
  Segment here(block_.bytes());
  std::string why;
  EXPECT_FALSE(Fetch(here.data(), &why));
  EXPECT_EQ(why, "it is not offered any more");
  source_->Kill();
  EXPECT_FALSE(Fetch(here.data(), &why));
  EXPECT_NE(why.find("cannot be reached"), std::string::npos) << why;
}

TEST_F(TransferTest, OffersAgainOnceItsServerIsBack) {
  detail::Root root;
  root.refs = 1;  // this test's, lest the last pin frees it
  TransferDesk::Token token = 0;
  ASSERT_TRUE(desk_->Offer(block_.fd(), 0, block_.bytes(), detail::Pin::Share(&root), &token));
  EXPECT_EQ(root.refs.load(), 2u);
  source_->Kill();
  while (root.refs.load() == 2) sched_yield();  // nobody reads any more
  EXPECT_FALSE(desk_->Offer(block_.fd(), 0, block_.bytes(), {}, &token));
  source_ = NewMachine("source");
  while (desk_->address() != source_->address()) sched_yield();
  const auto offer = desk_->Offer(block_.fd(), 0, block_.bytes(), {}, &token);
  ASSERT_TRUE(offer);
  offer_ = *offer;
  Segment here(block_.bytes());
  std::string why;
  EXPECT_TRUE(Fetch(here.data(), &why)) << why;
  EXPECT_TRUE(SameAsSource(here.data()));
}

TEST_F(TransferTest, LetsNoMemoryGoThatIsBeingRead) {
  detail::Root root;
  auto* desk = new TransferDesk(source_->path());
  Segment other(64 * kMiB);
  TransferDesk::Token token = 0;
  root.refs = 1;  // this test's, lest the last pin frees it
  const auto offer = desk->Offer(other.fd(), 0, other.bytes(), detail::Pin::Share(&root), &token);
  ASSERT_TRUE(offer);
  auto reader = Connect(source_->address());
  ASSERT_TRUE(Say(*reader, {kTransferMagic, Ask::kRead, offer->key, 0, 0, other.bytes(), {}}));
  SayFrame say{};
  ASSERT_TRUE(reader->Read(&say, sizeof say));  // and no further: more than a socket holds is still to come
  source_->AwaitRest();                         // between two parts it may well take note and stop
  desk->Withdraw(token);
  // A round trip of the same line: the server has taken note.
  ASSERT_TRUE(desk->Offer(block_.fd(), 0, block_.bytes(), {}, &token));
  EXPECT_EQ(root.refs.load(), 2u);
  reader.reset();
  while (root.refs.load() == 2) sched_yield();
}

TEST_F(TransferTest, TakesNoDescriptorWhosePagesCouldGo) {
  Segment loose(8 * kMiB, false);
  TransferDesk::Token token = 0;
  EXPECT_FALSE(desk_->Offer(loose.fd(), 0, loose.bytes(), {}, &token));
  EXPECT_FALSE(desk_->Offer(block_.fd(), 36 * kMiB, 8 * kMiB, {}, &token));  // beyond its end
}

TEST_F(TransferTest, CutsOffWhoeverBreaksTheProtocolAndServesTheOthers) {
  std::vector<AskFrame> hostile;
  hostile.push_back(AskRead(0, kReadMax + 1));
  hostile.push_back(AskRead(0, 0));
  hostile.push_back(AskRead(~std::uint64_t{0}, kMiB));
  hostile.push_back(AskRead(block_.bytes(), kMiB));
  hostile.push_back({0x12345678, Ask::kRead, offer_.key, 0, 0, kMiB, {}});
  hostile.push_back({kTransferMagic, static_cast<Ask>(99), offer_.key, 0, 0, kMiB, {}});
  hostile.push_back({kTransferMagic, Ask::kDone, offer_.key, 7, 0, 0, {}});
  hostile.push_back(AskLocate(0, "127.0.0.1:1"));
  hostile.push_back(AskLocate(5, "a b"));
  hostile.back().address.fill('x');
  for (const AskFrame& ask : hostile) {
    const auto stream = Connect(source_->address());
    ASSERT_TRUE(Say(*stream, ask));
    SayFrame say{};
    EXPECT_FALSE(stream->Read(&say, sizeof say));
  }
  AskFrame unknown = AskRead(0, kMiB);
  unknown.key[3] ^= 1;
  const auto stream = Connect(source_->address());
  SayFrame say{};
  ASSERT_TRUE(Say(*stream, unknown) && stream->Read(&say, sizeof say));
  EXPECT_EQ(say.kind, Say::kGone);
  Segment here(block_.bytes());
  std::string why;
  EXPECT_TRUE(Fetch(here.data(), &why)) << why;
}

TEST_F(TransferTest, WithoutAServerNothingIsOffered) {
  auto* desk = new TransferDesk(directory_ + "/nobody");
  TransferDesk::Token token = 0;
  EXPECT_EQ(desk->address(), "");
  EXPECT_FALSE(desk->Offer(block_.fd(), 0, block_.bytes(), {}, &token));
  // Nor by one whose server dies.
  source_->Kill();
  EXPECT_FALSE(desk_->Offer(block_.fd(), 0, block_.bytes(), {}, &token));
}

}  // namespace
}  // namespace sheaf::relay
