// A half's end of the line to the transfer server of its machine. Any thread may call.
//
// What is offered stays where it is until the server has said that nobody reads it any more, or has hung up, which it does when nobody
// reads. Nobody waits for a server that is slow: its line is given up, and values go in the relay's stream, as without one.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

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
  bool Send(const NotePacket& note, int fd);
  void GiveUp();  // mutex_ held
  void ReadLoop(int socket);

  std::mutex mutex_;
  std::condition_variable answered_;
  std::shared_ptr<Fd> socket_;  // empty: nothing is sent any more
  std::string address_;
  bool here_ = false;
  std::map<Token, Entry> entries_;
  Token last_ = 0;
};

}  // namespace sheaf::relay
