#include "worker/relay/form.h"

#include <cstring>

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

std::uint64_t WriteForm(runtime::Context& context, const detail::Stored& value, const NameRef& name_ref,
                        Outgoing* out) {
  const std::size_t count = value.marks.size() / sizeof(std::uint32_t);
  std::vector<FormMark> marks(count);
  std::vector<std::span<const std::byte>> blocks;
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
        const std::byte* data = context.peers().Resolve(named.loc, named.size);
        if (!data) throw ObjectLostError("a block of this object is gone with the process that made it");
        blocks.push_back({data, named.size});
        head.block_bytes += named.size;
        marks[i] = {mark, 0, named.size};
      }
    } catch (const Error& error) {
      WriteErrorForm("ObjectLostError", error.what(), out);
      return 0;
    }
  }
  out->Raw(&head, sizeof head);
  out->Raw(marks.data(), marks.size() * sizeof(FormMark));
  out->InPlace(value.payload.data(), value.payload.size());
  for (const auto& block : blocks) out->InPlace(block.data(), block.size());
  if (value.pin) out->Keep(value.pin);
  return head.payload_bytes + head.block_bytes;
}

FormRead ReadForm(Stream& from, std::uint64_t bytes, const RefOfName& ref_of, Encoder* to, std::string* why) {
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
    std::vector<std::pair<std::byte*, std::uint64_t>> blocks;
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
      if (!from.Skip(record)) return FormRead::kOver;
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
        blocks.emplace_back(to->NewBlock(mark.value), mark.value);
      }
    }
    if (!plain(head.payload_bytes)) return FormRead::kOver;
    for (const auto& [data, size] : blocks) {
      if (!from.Read(data, size)) return FormRead::kOver;
      left -= size;
    }
  } catch (const Error& error) {
    if (!from.Skip(left)) return FormRead::kOver;
    to->Clear();
    detail::EncodeRuntimeError("OutOfMemoryError", std::string("a value from another machine: ") + error.what(),
                               {"", 1}, *to);
    return FormRead::kError;
  }
  return head.flags & kFormError ? FormRead::kError : FormRead::kOk;
}

}  // namespace sheaf::relay
