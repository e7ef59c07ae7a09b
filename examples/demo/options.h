// Room: examples. What the demo's command line says.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace demo {

struct Options {
  std::int64_t epochs = 20;
  std::size_t workers = 2;
  std::size_t batch = 64;  // rows of each worker in a step
  std::string data = "/usr/share/datasets/fashion-mnist";
  std::string save;  // a safetensors file for the trained weights
  bool help = false;
};

// Throws std::invalid_argument with advice.
Options ParseOptions(int argc, char** argv);
const char* HelpText();

}  // namespace demo
