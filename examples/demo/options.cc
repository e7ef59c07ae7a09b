// Room: examples. A handful of flags, each --name VALUE or --name=VALUE.
#include "examples/demo/options.h"

#include <cstdlib>
#include <stdexcept>
#include <string_view>

namespace demo {
namespace {

std::int64_t Number(std::string_view name, const std::string& text, std::int64_t most) {
  char* end = nullptr;
  const long long value = std::strtoll(text.c_str(), &end, 10);
  if (text.empty() || *end != '\0' || value < 1 || value > most) {
    throw std::invalid_argument(std::string(name) + " takes a number from 1 to " + std::to_string(most) + ", not \"" +
                                text + "\"");
  }
  return value;
}

}  // namespace

Options ParseOptions(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const std::size_t equals = argument.find('=');
    const std::string name = argument.substr(0, equals);
    if (name == "--help" || name == "-h") {
      options.help = true;
      return options;
    }
    if (name != "--epochs" && name != "--workers" && name != "--batch" && name != "--data" && name != "--save") {
      throw std::invalid_argument("unknown option \"" + name + "\"; --help lists them");
    }
    std::string value;
    if (equals != std::string::npos) {
      value = argument.substr(equals + 1);
    } else if (i + 1 < argc) {
      value = argv[++i];
    } else {
      throw std::invalid_argument(name + " needs a value");
    }
    if (name == "--epochs") options.epochs = Number(name, value, 100000);
    if (name == "--workers") options.workers = static_cast<std::size_t>(Number(name, value, 256));
    if (name == "--batch") options.batch = static_cast<std::size_t>(Number(name, value, 4096));
    if (name == "--data") options.data = value;
    if (name == "--save") options.save = value;
  }
  return options;
}

const char* HelpText() {
  return "Trains a perceptron (784-128-10) on Fashion-MNIST with several worker processes that share one copy of the\n"
         "data and the weights.\n"
         "\n"
         "  --epochs N     passes over the 60,000 training images        (20)\n"
         "  --workers N    worker processes, one shard of the data each  (2)\n"
         "  --batch N      images of each worker in a step               (64)\n"
         "  --data FOLDER  where the four IDX files are                  (/usr/share/datasets/fashion-mnist)\n"
         "  --save FILE    write the trained weights, as safetensors\n"
         "\n"
         "With SHEAF_ADDRESS set to a pool's socket the same program runs on that pool's workers; else it starts a\n"
         "pool of its own. The run is seeded: the same options give the same weights, bit by bit.\n";
}

}  // namespace demo
