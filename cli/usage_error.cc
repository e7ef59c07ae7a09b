#include "cli/usage_error.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <utility>

namespace sheaf::cli {
namespace {

std::vector<const CLI::App*> CommandsOf(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

// What is near to a word that nobody knows: of several equally near, all.
class Nearest {
 public:
  explicit Nearest(std::string word) : word_(std::move(word)), distance_(std::max<std::size_t>(1, word_.size() / 3)) {}
  void Offer(const std::string& name, std::string shown) {
    const std::size_t distance = EditDistance(word_, name);
    if (distance > distance_ || distance >= name.size()) return;
    if (distance < distance_) found_.clear();
    distance_ = distance;
    found_.push_back(std::move(shown));
  }
  // "; did you mean 'a' or 'b'?", or nothing.
  std::string Question() const {
    std::string text;
    for (const std::string& one : found_) text += (text.empty() ? "; did you mean '" : "' or '") + one;
    return text.empty() ? text : text + "'?";
  }

 private:
  const std::string word_;
  std::size_t distance_;
  std::vector<std::string> found_;
};

// Deeper ones, too: `sheaf start` is one word short of what was meant.
void OfferCommands(const CLI::App& app, const std::string& path, Nearest* nearest) {
  for (const CLI::App* command : CommandsOf(app)) {
    const std::string below = path + " " + command->get_name();
    nearest->Offer(command->get_name(), below);
    OfferCommands(*command, below, nearest);
  }
}

std::string NamesOf(const CLI::App& app) {
  std::string names;
  for (const CLI::App* command : CommandsOf(app)) names += (names.empty() ? "" : ", ") + command->get_name();
  return names;
}

std::string UnknownCommand(const CLI::App& app, const std::string& path, const std::string& word) {
  Nearest nearest(word);
  OfferCommands(app, path, &nearest);
  const std::string question = nearest.Question();
  return "unknown command '" + word + "'" + (question.empty() ? "; known here: " + NamesOf(app) : question);
}

std::string UnknownOption(const CLI::App& app, const std::string& path, const std::string& name) {
  Nearest nearest(name);
  for (const CLI::Option* option : app.get_options())
    for (const std::string& known : option->get_lnames()) nearest.Offer("--" + known, "--" + known);
  return "unknown option '" + name + "' of " + path + nearest.Question();
}

std::size_t PlainWordsOf(const CLI::App& app) {
  std::size_t words = 0;
  for (const CLI::Option* option : app.get_options())
    if (option->get_positional()) words += static_cast<std::size_t>(option->get_items_expected_max());
  return words;
}

}  // namespace

// Optimal string alignment: the table of the edit distance, row by row, with swaps of neighbours.
std::size_t EditDistance(const std::string& a, const std::string& b) {
  std::vector<std::size_t> before, last(b.size() + 1), row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    before = last;
    last = row;
  }
  return last[b.size()];
}

UsageError FindUsageError(const CLI::App& root, const std::vector<std::string>& words) {
  const CLI::App* app = &root;
  UsageError error{root.get_name(), {}};
  std::size_t plain = 0;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "--") return error;
    const bool dashed = word.size() > 1 && word[0] == '-' && (word[1] < '0' || word[1] > '9');
    if (dashed) {
      const std::string name = word.substr(0, word.find('='));
      const CLI::Option* option = app->get_option_no_throw(name);
      if (option == nullptr) {
        error.what = UnknownOption(*app, error.command, name);
        return error;
      }
      if (name.size() == word.size() && option->get_items_expected_max() > 0) ++i;  // its value
    } else if (const auto commands = CommandsOf(*app); !commands.empty()) {
      const auto found = std::find_if(commands.begin(), commands.end(),
                                      [&](const CLI::App* command) { return command->get_name() == word; });
      if (found == commands.end()) {
        error.what = UnknownCommand(*app, error.command, word);
        return error;
      }
      app = *found;
      error.command += " " + word;
    } else if (++plain > PlainWordsOf(*app)) {
      error.what = "'" + word + "' is one word too many for " + error.command;
      return error;
    }
  }
  if (const auto commands = CommandsOf(*app); !commands.empty())
    error.what = error.command + " needs a command: " + NamesOf(*app);
  return error;
}

}  // namespace sheaf::cli
