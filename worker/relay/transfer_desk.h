// A half's end of the line to the transfer server of its machine. Any thread may call.
//
// What is offered stays where it is until the server has said that nobody reads it any more, or has hung up, which it does when nobody
// reads. Nobody waits for a server that is slow: its line is given up, and values go in the relay's stream, as without one. After a
// while another line is tried: the pool starts its server again.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "base/fd.h"
#include "sheaf/detail/abi.h"
#include "worker/relay/transfer_frame.h"

namespace sheaf::relay {

class TransferDesk {
 public:
  using Token = std::uint64_t;
  explicit TransferDesk(const std::string& path);  // of the server's socket

  // Where other machines reach this one's server; empty: there is none.
  std::string address();
  // Offers `size` bytes of a sealed segment and waits for the key. Nothing: the server refused or is gone.
  std::optional<BlockOffer> Offer(int fd, std::uint64_t offset, std::uint64_t size, detail::Pin pin, Token* token);
  // Offers what is being received under somebody else's key. 0: not possible.
  // `member`: what its fetcher calls itself.
  Token OfferPart(const Key& key, int fd, std::uint64_t offset, std::uint64_t size, std::uint64_t member,
                  detail::Pin pin);
  void Progress(Token token, std::uint64_t ready);
  void Withdraw(Token token);  // lets go of the pin once nobody reads

 private:
  struct Entry {
    detail::Pin pin;
    bool answered = false, refused = false;
    Key key{};
  };
  struct Line {
    explicit Line(Fd fd) : socket(std::move(fd)) {}
    const Fd socket;
    std::string address;
    bool here = false;  // it said who it is, or is over
    std::map<Token, Entry> entries;
  };
  // With mutex_ held.
  bool Send(const NotePacket& note, int fd);
  void Connect();
  void GiveUp();
  Entry* Find(Token token);

  void ReadLoop(const std::shared_ptr<Line>& line);

  const std::string path_;
  std::mutex mutex_;
  std::condition_variable answered_;
  std::shared_ptr<Line> line_;  // empty: nothing is sent any more. One that was given up lives as long as its reader
  std::int64_t again_ = 0;      // not before: another line
  Token last_ = 0;
};

}  // namespace sheaf::relay
