#include "cli/completion.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "cli/exit_code.h"

namespace sheaf::cli {
namespace {

// One `case` arm per command: the words that may follow "sheaf scheduler start", say. `paths`: of all commands.
void AddArms(const CLI::App& app, const std::string& path, std::string* arms, std::string* paths) {
  std::string words;
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; })) {
    const std::string below = path + "/" + sub->get_name();
    words += sub->get_name() + " ";
    *paths += (paths->empty() ? "" : "|") + below;
    AddArms(*sub, below, arms, paths);
  }
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) words += "--" + name + " ";
  }
  *arms += "    " + path + ") words=\"" + words + "\" ;;\n";
}

}  // namespace

int PrintCompletion(const CLI::App& app) {
  std::string arms, paths;
  AddArms(app, "sheaf", &arms, &paths);
  std::printf(
      "_sheaf() {\n"
      "  local path=sheaf words=\"\" i\n"
      "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
      "    case \"$path/${COMP_WORDS[i]}\" in %s)\n"
      "      path=\"$path/${COMP_WORDS[i]}\" ;; esac\n"
      "  done\n"
      "  case \"$path\" in\n%s  esac\n"
      "  COMPREPLY=($(compgen -W \"$words\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n"
      "  if [[ ${#COMPREPLY[@]} -eq 0 ]]; then\n"
      "    COMPREPLY=($(compgen -f -- \"${COMP_WORDS[COMP_CWORD]}\"))\n"
      "  fi\n"
      "}\n"
      "complete -F _sheaf sheaf\n",
      paths.c_str(), arms.c_str());
  return kExitOk;
}

}  // namespace sheaf::cli
