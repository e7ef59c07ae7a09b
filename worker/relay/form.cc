#include "worker/relay/form.h"

#include <cstring>
#include <deque>
#include <optional>

#include "sheaf/error.h"

namespace sheaf::relay {

using detail::Encoder;

void WriteErrorForm(std::string_view kind, const std::string& message, Outgoing* out) {
  Encoder error;
  detail::EncodeRuntimeError(kind, message, {"", 1}, error);
  const FormHead head{kFormError, static_cast<std::uint32_t>(error.payload().size()), 0, 0, 0};
  out->Raw(&head, sizeof head);
  out->Raw(error.payload().data(), error.payload().size());
}

Blocks LookForBlocks(runtime::Context& context, const detail::Stored& value, Offers* offers) {
  using Whereabouts = runtime::Context::Whereabouts;
  Blocks all = Blocks::kReady;
  for (std::size_t i = 0; i + sizeof(std::uint32_t) <= value.marks.size(); i += sizeof(std::uint32_t)) {
    std::uint32_t mark = 0;
    std::memcpy(&mark, value.marks.data() + i, sizeof mark);
    store::BlockRecord named{};
    if ((mark & Encoder::kMarkRef) || mark + sizeof named > value.payload.size()) continue;
    std::memcpy(&named, value.payload.data() + mark, sizeof named);
    if (named.loc.segment < limits::kAwayFirst) continue;
    runtime::Context::AwayOffer offer{};
    const Whereabouts where = context.LookForSegment(named.loc.client, named.loc.segment, &offer);
    if (where == Whereabouts::kAway && offers && offers->TakeFromAfar(named, offer)) continue;
    if (offers) offers->ForgetAfar(named);
    if (where == Whereabouts::kLater) return Blocks::kLater;
    if (where != Whereabouts::kAway) continue;  // if it is gone, WriteForm says so
    context.WillRead(named.loc.client, named.loc.segment);
    all = Blocks::kAway;
  }
  return all;
}

std::uint64_t WriteForm(runtime::Context& context, const detail::Stored& value, const NameRef& name_ref, Outgoing* out,
                        Offers* offers, bool* gone) {
  const std::size_t count = value.marks.size() / sizeof(std::uint32_t);
  std::vector<FormMark> marks(count);
  std::vector<std::span<const std::byte>> blocks;
  std::deque<BlockOffer> offered;
  std::uint64_t beside = 0;
  FormHead head{value.error ? kFormError : 0u, static_cast<std::uint32_t>(value.payload.size()),
                static_cast<std::uint32_t>(count), 0, 0};
  if (value.payload.size() > kPayloadMax) {
    WriteErrorForm("LimitError", "a value whose own bytes are more than 1 GiB cannot go to another machine", out);
    return 0;
  }
  std::uint64_t at = 0;
  for (std::size_t i = 0; i < count; ++i) {
    std::uint32_t mark = 0;
    std::memcpy(&mark, value.marks.data() + i * sizeof mark, sizeof mark);
    const bool ref = mark & Encoder::kMarkRef;
    const std::uint64_t offset = mark & ~Encoder::kMarkRef;
    const std::uint64_t end = offset + (ref ? kRefRecordBytes : kBlockRecordBytes);
    if (offset < at || end > value.payload.size()) {
      WriteErrorForm("Error", "a stored value is damaged", out);
      return 0;
    }
    at = end;
    const std::byte* record = value.payload.data() + offset;
    try {
      if (ref) {
        detail::Decoder decoder({record, kRefRecordBytes}, value.pin);
        const detail::RefCore core = decoder.TakeRef();
        marks[i] = {mark, core.element, name_ref(core)};
      } else {
        store::BlockRecord named{};
        std::memcpy(&named, record, sizeof named);
        std::optional<BlockOffer> offer = offers ? offers->PassOn(named) : std::nullopt;
        const std::byte* data = offer ? nullptr : context.peers().Resolve(named.loc, named.size);
        if (!offer && !data) throw ObjectLostError("a block of this object is gone with the process that made it");
        if (!offer && offers) offer = offers->Make(named, value.pin);
        if (offer) {
          blocks.push_back(std::as_bytes(std::span(&offered.emplace_back(*offer), 1)));
          marks[i] = {mark, kBlockOffered, sizeof(BlockOffer)};
          beside += named.size;
        } else {
          blocks.push_back({data, named.size});
          marks[i] = {mark, 0, named.size};
        }
        head.block_bytes += blocks.back().size();
      }
    } catch (const Error& error) {
      if (gone) *gone = true;
      WriteErrorForm("ObjectLostError", error.what(), out);
      return 0;
    }
  }
  out->Raw(&head, sizeof head);
  out->Raw(marks.data(), marks.size() * sizeof(FormMark));
  out->InPlace(value.payload.data(), value.payload.size());
  for (const auto& block : blocks) out->InPlace(block.data(), block.size());
  if (value.pin) out->Keep(value.pin);
  return head.payload_bytes + head.block_bytes + beside;
}

FormRead ReadForm(Stream& from, std::uint64_t bytes, const RefOfName& ref_of, Encoder* to, std::string* why,
                  std::vector<OfferedBlock>* offered, const MakeBlock& make) {
  FormHead head{};
  if (bytes < sizeof head || !from.Read(&head, sizeof head)) return FormRead::kOver;
  *why = CheckForm(head, bytes);
  if (!why->empty()) return FormRead::kHostile;
  std::vector<FormMark> marks(head.marks);
  if (!from.Read(marks.data(), marks.size() * sizeof(FormMark))) return FormRead::kOver;
  *why = CheckMarks(head, marks.data());
  if (!why->empty()) return FormRead::kHostile;
  std::uint64_t left = head.payload_bytes + head.block_bytes;
  try {
    struct Coming {
      std::byte* to;
      std::uint64_t bytes;
      bool offered;
    };
    std::vector<Coming> blocks;
    std::uint32_t at = 0;
    const auto plain = [&](std::uint32_t until) {
      if (until > at && !from.Read(to->Extend(until - at), until - at)) return false;
      left -= until - at;
      at = until;
      return true;
    };
    for (const FormMark& mark : marks) {
      if (!plain(mark.offset & ~kMarkRef)) return FormRead::kOver;
      const std::uint32_t record = mark.offset & kMarkRef ? kRefRecordBytes : kBlockRecordBytes;
      store::BlockRecord named{};  // its size is of use
      if (!from.Read(&named, record)) return FormRead::kOver;
      at += record;
      left -= record;
      if (mark.offset & kMarkRef) {
        detail::RefCore ref = ref_of(mark.value);
        if (!ref.pin) {
          *why = "a value that speaks of an object without a name";
          return FormRead::kHostile;
        }
        ref.element = mark.element;
        to->AddRef(ref);
      } else {
        const bool beside = mark.element == kBlockOffered;
        if (beside && (!offered || named.size < kOfferMin || named.size > kBlockMax)) {
          *why = "a value with an offer that is out of place or bounds";
          return FormRead::kHostile;
        }
        const std::uint64_t size = beside ? named.size : mark.value;
        std::optional<NewBlock> made =
            make ? make(static_cast<std::uint32_t>(blocks.size()), size, beside) : std::nullopt;
        if (!made) {
          detail::WritableBlock fresh(size);
          std::byte* room = fresh.data();
          made = NewBlock{std::move(fresh).Seal(), room};
        }
        blocks.push_back({made->to, size, beside});
        to->AddBlock(made->block);
        if (beside) offered->push_back({{}, std::move(made->block), made->to});
      }
    }
    if (!plain(head.payload_bytes)) return FormRead::kOver;
    std::size_t next = 0;
    for (const Coming& block : blocks) {
      if (block.offered) {
        BlockOffer& offer = (*offered)[next++].offer;
        if (!from.Read(&offer, sizeof offer)) return FormRead::kOver;
        *why = offer.bytes == block.bytes ? CheckOffer(offer) : "an offer of another size than its block";
        if (!why->empty()) return FormRead::kHostile;
        left -= sizeof offer;
        continue;
      }
      if (!from.Read(block.to, block.bytes)) return FormRead::kOver;
      left -= block.bytes;
    }
  } catch (const Error& error) {
    if (!from.Skip(left)) return FormRead::kOver;
    if (offered) offered->clear();
    to->Clear();
    detail::EncodeRuntimeError("OutOfMemoryError", std::string("a value from another machine: ") + error.what(),
                               {"", 1}, *to);
    return FormRead::kError;
  }
  return head.flags & kFormError ? FormRead::kError : FormRead::kOk;
}

}  // namespace sheaf::relay
