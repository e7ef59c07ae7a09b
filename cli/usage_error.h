// What a person is told about a command line that makes no sense: what is wrong, what is nearest, where the help is.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace sheaf::cli {

// The command of `words` (without the program's name) that was meant, as far as they can be followed, and what is wrong with
// them: an unknown command or option, a word too many, a command too few. Empty `what`: none of these.
struct UsageError {
  std::string command;  // "sheaf pool start"
  std::string what;
};
UsageError FindUsageError(const CLI::App& app, const std::vector<std::string>& words);

// How many letters have to be inserted, removed, replaced or swapped with their neighbour to make one of the other.
std::size_t EditDistance(const std::string& a, const std::string& b);

}  // namespace sheaf::cli
