#include "runtime/home_value.h"

#include <algorithm>
#include <cstring>

#include "runtime/no_room.h"

namespace sheaf::runtime {

HomeValue StoreHome(Context& context, detail::Encoder& value, std::uint32_t flags) {
  HomeValue home;
  home.flags = flags;
  if (value.AppendMarks()) home.flags |= store::kFlagMarked;
  const auto payload = value.payload();
  home.holds = std::move(value.holds());
  if (payload.size() <= sizeof home.payload) {
    home.size = static_cast<std::uint32_t>(payload.size());
    std::memcpy(home.payload.data(), payload.data(), payload.size());
    return home;
  }
  const store::OwnBlock block = context.Allocate(payload.size());
  if (!block.data) {
    home.holds.clear();
    home.flags = store::kFlagError;
    detail::Encoder error;
    detail::EncodeRuntimeError("OutOfMemoryError", NoRoomFor(context, "a result", payload.size()), {"", 1}, error);
    home.size = static_cast<std::uint32_t>(std::min(error.payload().size(), sizeof home.payload));
    std::memcpy(home.payload.data(), error.payload().data(), home.size);
    return home;
  }
  std::memcpy(block.data, payload.data(), payload.size());
  auto* held = new BlockRoot;
  held->kind = kBlockRoot;
  held->block = block;
  home.holds.push_back(Pin::Share(held));
  const store::BlockRecord named{{context.client, block.segment, block.offset}, payload.size()};
  home.size = sizeof named;
  home.flags |= store::kFlagBlockPayload;
  std::memcpy(home.payload.data(), &named, sizeof named);
  return home;
}

}  // namespace sheaf::runtime
