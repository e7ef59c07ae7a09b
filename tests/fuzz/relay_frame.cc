// What one half of a relay reads of the other: heads and forms, from a stream that ends anywhere.
#include <algorithm>
#include <cstring>
#include <memory>

#include "base/check.h"
#include "sheaf/error.h"
#include "tests/fuzz/target.h"
#include "worker/relay/form.h"
#include "worker/relay/parts.h"

namespace {

using namespace sheaf::relay;

class Bytes final : public Transport {
 public:
  Bytes(const std::uint8_t* data, std::size_t size) : at_(data), end_(data + size) {}
  std::size_t Read(std::byte* to, std::size_t most, bool) override {
    const std::size_t some = std::min(most, static_cast<std::size_t>(end_ - at_));
    std::memcpy(to, at_, some);
    at_ += some;
    return some;
  }
  bool Write(iovec*, int) override { return true; }

 private:
  const std::uint8_t *at_, *end_;
};

template <class T>
void Put(std::string* to, const T& value) {
  to->append(reinterpret_cast<const char*>(&value), sizeof value);
}

std::string Value(bool blocks) {
  std::string form;
  const std::uint32_t payload = 4 + (blocks ? kBlockRecordBytes : kRefRecordBytes);
  Put(&form, FormHead{0, payload, 1, 0, blocks ? 100u : 0u});
  Put(&form, FormMark{blocks ? 4 : 4 | kMarkRef, 0, blocks ? 100u : 7u});
  form += std::string(payload + (blocks ? 100 : 0), 'x');
  std::string frame;
  Put(&frame, Head{kMagic, Kind::kValue, 7, form.size()});
  return frame + form;
}

std::string Parts() {
  std::string body, frame;
  for (const char* name : {"libone.so.1", "libtwo.so"}) {
    Put(&body, Part{PartKind::kLibrary, static_cast<std::uint32_t>(std::strlen(name)), 100, {1, 2, 3}});
    body += name;
  }
  for (const PartKind kind : {PartKind::kFile, PartKind::kExecutableFile}) {
    Put(&body, Part{kind, 6, 100, {4, 5, 6}});
    body += kind == PartKind::kFile ? "data/a" : "data/b";
  }
  Put(&frame, Head{kMagic, Kind::kParts, 0, body.size()});
  frame += body;
  Put(&frame, Head{kMagic, Kind::kLimits, 0, sizeof(Limit)});
  Put(&frame, Limit{7, 0, 1024});
  return frame;
}

}  // namespace

std::vector<std::string> FuzzSeeds() {
  std::string ping;
  Put(&ping, Head{kMagic, Kind::kPing, 0, 0});
  return {Value(false), Value(true), ping, ping + Value(false), Parts()};
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto copy = std::make_unique<std::uint8_t[]>(size);
  if (size) std::memcpy(copy.get(), data, size);
  Stream stream(std::make_unique<Bytes>(copy.get(), size));
  for (;;) {
    Head head{};
    if (!stream.Read(&head, sizeof head)) return 0;
    for (const bool near : {true, false}) (void)CheckHead(head, near);
    if (!CheckHead(head, true).empty()) return 0;
    if (head.bytes > 1 << 16) return 0;  // of the right size in its head, and never sent
    if (head.kind == Kind::kParts) {
      std::string body(head.bytes, '\0');
      if (!stream.Read(body.data(), body.size())) return 0;
      std::vector<TravelPart> parts;
      const bool good = UnpackParts(body, &parts).empty();
      SHEAF_CHECK(!good || PackParts(parts) == body);
      continue;
    }
    if (head.kind == Kind::kLimits) {
      std::string body(head.bytes, '\0');
      if (!stream.Read(body.data(), body.size())) return 0;
      std::vector<sheaf::SoftLimit> limits;
      const bool good = UnpackLimits(body, &limits).empty();
      SHEAF_CHECK(!good || sheaf::ParseSoftLimits(sheaf::TextOfSoftLimits(limits)) == limits);
      continue;
    }
    if (head.kind != Kind::kValue) {
      if (!stream.Skip(head.bytes)) return 0;
      continue;
    }
    // Without a process to keep blocks and refs in, both are refused, after the bounds were checked.
    sheaf::detail::Encoder value;
    std::string why;
    const FormRead read =
        ReadForm(stream, head.bytes, [](std::uint64_t) { return sheaf::detail::RefCore{}; }, &value, &why);
    SHEAF_CHECK((read == FormRead::kHostile) == !why.empty());
    if (read == FormRead::kOver || read == FormRead::kHostile) return 0;
  }
}
