#include "worker/pool_options.h"

#include <charconv>

namespace sheaf {
namespace {

template <typename T>
bool ParseNumber(const std::string& text, T* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

std::vector<std::string> PoolArguments(const PoolOptions& options) {
  std::vector<std::string> arguments{"internal-pool"};
  const auto add = [&](const char* flag, std::string value) {
    arguments.emplace_back(flag);
    arguments.push_back(std::move(value));
  };
  add("--slots", std::to_string(options.slots));
  add("--store", std::to_string(options.store_bytes));
  add("--driver-fd", std::to_string(options.driver_fd));
  add("--supervisor-fd", std::to_string(options.supervisor_fd));
  add("--drain-ms", std::to_string(options.drain_ms));
  if (!options.has.empty()) add("--has", FormatNeeds(options.has));
  if (!options.socket_path.empty()) add("--socket", options.socket_path);
  if (!options.pool_id.empty()) add("--pool-id", options.pool_id);
  if (!options.scheduler.empty()) add("--scheduler", options.scheduler);
  if (!options.relay_listen.empty()) add("--relay-listen", options.relay_listen);
  if (!options.pki_directory.empty()) add("--pki", options.pki_directory);
  if (!options.token_file.empty()) add("--token-file", options.token_file);
  if (!options.relay_address.empty()) add("--relay-address", options.relay_address);
  return arguments;
}

bool ParsePoolArguments(const std::vector<std::string>& arguments, PoolOptions* options, std::string* reason) {
  for (std::size_t i = 0; i < arguments.size(); i += 2) {
    const std::string& flag = arguments[i];
    if (i + 1 == arguments.size()) {
      *reason = flag + " needs a value";
      return false;
    }
    const std::string& value = arguments[i + 1];
    bool good = true;
    if (flag == "--slots") {
      good = ParseNumber(value, &options->slots);
    } else if (flag == "--store") {
      good = ParseNumber(value, &options->store_bytes);
    } else if (flag == "--driver-fd") {
      good = ParseNumber(value, &options->driver_fd);
    } else if (flag == "--supervisor-fd") {
      good = ParseNumber(value, &options->supervisor_fd);
    } else if (flag == "--drain-ms") {
      good = ParseNumber(value, &options->drain_ms);
    } else if (flag == "--has") {
      good = ParseNeeds(value, &options->has).empty();
    } else if (flag == "--socket") {
      options->socket_path = value;
    } else if (flag == "--pool-id") {
      options->pool_id = value;
    } else if (flag == "--scheduler") {
      options->scheduler = value;
    } else if (flag == "--relay-listen") {
      options->relay_listen = value;
    } else if (flag == "--pki") {
      options->pki_directory = value;
    } else if (flag == "--token-file") {
      options->token_file = value;
    } else if (flag == "--relay-address") {
      options->relay_address = value;
    } else {
      *reason = "unknown option " + flag;
      return false;
    }
    if (!good) {
      *reason = flag + ": '" + value + "' is not what it wants";
      return false;
    }
  }
  return true;
}

}  // namespace sheaf
