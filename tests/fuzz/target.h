// What a fuzz target gives: inputs that are right, to begin from, and the entry point that libFuzzer names.
// FuzzOne must neither crash, nor hang, nor throw anything but the library's own errors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

std::vector<std::string> FuzzSeeds();
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
