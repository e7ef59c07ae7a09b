// Faults planted on purpose, to show that the sanitizers would find them in the code they watch.
//
//   planted race [--plant]     a ring pair of the runtime between two threads; planted: a record is completed after
//                              its entry was pushed, which is the one thing that Ring::Push forbids
//   planted use_after_free | overflow | leak
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <memory>
#include <thread>

#include "base/pair_ring.h"
#include "object_store/segment_layout.h"

namespace {

using sheaf::Ring;
constexpr std::uint32_t kDepth = sheaf::limits::kLaneDepth;

// What in real life are two processes, here are two threads, so that ThreadSanitizer sees both.
struct Pair {
  sheaf::store::OutRegion out{};
  sheaf::store::InRegion in{};
  std::uint64_t records[kDepth] = {};  // plain memory, published by the entry that names it
};

void Work(Pair& pair, std::uint32_t count) {
  Ring::Cursor cursor;
  while (cursor.next < count) {
    std::uint32_t slot = 0;
    if (!Ring::Peek(pair.out.entries, kDepth, cursor.next, &slot)) {
      std::this_thread::yield();
      continue;
    }
    const std::uint32_t position = cursor.next;
    if (!Ring::Claim(pair.out, pair.in, &cursor)) continue;
    const std::uint64_t result = pair.records[slot] * 2;
    Ring::Publish(pair.in.done[position % kDepth], position, 0, sizeof result, 0, &result);
  }
}

int Race(bool plant) {
  constexpr std::uint32_t kCount = 20'000;
  auto pair = std::make_unique<Pair>();
  std::thread worker([&pair] { Work(*pair, kCount); });
  std::uint32_t wrong = 0, head = 0;
  for (std::uint32_t tail = 0; head < kCount;) {
    if (tail < kCount && tail - head < kDepth) {
      const std::uint32_t slot = tail % kDepth;
      if (!plant) pair->records[slot] = tail;
      Ring::Push(pair->out.entries, kDepth, tail, slot);
      if (plant) pair->records[slot] = tail;
      ++tail;
    }
    const auto& done = pair->in.done[head % kDepth];
    if (!Ring::IsPublished(done, head)) continue;
    std::uint64_t result = 0;
    Ring::Copy(done, &result, 1);
    wrong += result != head * 2ull;
    ++head;
  }
  worker.join();
  std::printf("%u tasks, %u wrong\n", kCount, wrong);
  return plant || wrong == 0 ? 0 : 1;
}

int* volatile block = nullptr;  // volatile: the compiler must not see through the faults

int UseAfterFree() {
  block = new int[16];
  delete[] block;
  return block[3] == 7;
}

int Overflow(int argc) {
  volatile int most = std::numeric_limits<int>::max();
  return most + argc > 0;
}

int Leak() {
  block = new int[16];
  block = nullptr;
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const char* what = argc > 1 ? argv[1] : "";
  if (std::strcmp(what, "race") == 0) return Race(argc > 2);
  if (std::strcmp(what, "use_after_free") == 0) return UseAfterFree();
  if (std::strcmp(what, "overflow") == 0) return Overflow(argc);
  if (std::strcmp(what, "leak") == 0) return Leak();
  std::fprintf(stderr, "usage: planted race [--plant] | use_after_free | overflow | leak\n");
  return 2;
}
