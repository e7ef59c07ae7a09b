// Sizes as people write them: "512MiB", "4G", "1048576".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sheaf {

// K, M, G, T with or without "iB" or "B" are powers of 1024; no unit: bytes. nullopt: not a size, zero, or above 2^60.
std::optional<std::uint64_t> ParseByteSize(std::string_view text);

// "4GiB", "1.5MiB", "17B": the largest unit that leaves at least 1, with a tenth where there is one.
std::string FormatByteSize(std::uint64_t bytes);

// What a pool may use of the machine's memory, as somebody asked for it. Empty, or what is wrong with the text; then *bytes is as
// it was.
std::string ParseStoreSize(std::string_view text, std::uint64_t* bytes);

}  // namespace sheaf
