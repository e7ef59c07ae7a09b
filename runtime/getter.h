// get: waits until an object has its value and hands out where it lies.
#pragma once

#include "runtime/context.h"
#include "runtime/prober.h"

namespace sheaf::runtime {

detail::Stored FetchObject(Context& context, const RefCore& ref, Duration timeout);
bool ObjectIsReady(Context& context, const RefCore& ref);
bool ForeignIsReady(Context& context, ForeignRoot* root);  // a lost one is ready: Get says so
// The id under which other processes know the object that `root` stands for.
ObjectId IdOf(Context& context, const Root& root);
// Makes a Stored of a value found by Probe or in our own home slot; resolves a payload that lies in a block.
detail::Stored MakeStored(Context& context, std::uint32_t flags, const std::byte* payload, std::uint32_t size, Pin pin,
                          std::uint32_t element);

}  // namespace sheaf::runtime
