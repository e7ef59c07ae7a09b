#include "cli/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <string>
#include <tuple>
#include <utility>

#include "base/byte_size.h"
#include "base/needs.h"
#include "cli/completion.h"
#include "cli/daemon_commands.h"
#include "cli/doctor.h"
#include "cli/drain_command.h"
#include "cli/exit_code.h"
#include "cli/get_command.h"
#include "cli/launch_command.h"
#include "cli/list_command.h"
#include "cli/status_command.h"
#include "cli/stop_command.h"
#include "cli/token_command.h"
#include "cli/usage_error.h"
#include "cli/version.h"
#include "cli/why_command.h"

namespace sheaf::cli {
namespace {

constexpr char kFooter[] =
    "Examples:\n"
    "  sheaf pool start --workers 8          serve this machine; then run programs with\n"
    "  SHEAF_ADDRESS=... ./program           the address that was printed\n"
    "  sheaf scheduler start                 a scheduler for several pools\n"
    "  sheaf pool start --scheduler auto     a pool that joins it\n"
    "  sheaf status                          what runs here\n"
    "  sheaf list jobs                       who wants and holds what on other pools\n"
    "  sheaf stop --all                      end all of it\n"
    "A program without SHEAF_ADDRESS needs none of this: it starts a pool of its own.\n\n"
    "Exit codes: 0 ok, 1 failed, 2 usage, 3 nothing answers there, 4 not found, 5 refused,\n"
    "            6 version mismatch, 124 timeout.\n";

// "auto" or a count; 0 stands for auto.
std::string CheckWorkers(std::string& text) {
  if (text == "auto") {
    text = "-1";
    return {};
  }
  const bool digits = !text.empty() && text.size() <= 4 && text.find_first_not_of("0123456789") == std::string::npos;
  if (!digits || std::stoi(text) > 4096) {
    return "'" + text + "' is neither 'auto' nor a number from 0 to 4096";
  }
  return {};
}

// NAME=AMOUNT,...
std::string CheckResources(std::string& text) {
  Needs needs;
  std::string why = ParseNeeds(text, &needs);
  if (text.find_first_of("=:") == std::string::npos)
    return "'" + text + "' has no amount: write NAME=AMOUNT,..., for example " +
           (text.empty() || text.find(',') != std::string::npos ? "gpu" : text) +
           "=1; what a machine is rather than has is a label: --labels NAME=VALUE,...";
  if (why.empty() && !needs.labels.empty()) why = "write NAME=AMOUNT, and labels with --labels";
  return why;
}

// NAME=VALUE,...; becomes the text of needs.
std::string CheckLabels(std::string& text) {
  Needs needs;
  const bool colon = text.find(':') != std::string::npos;
  std::string given = text;
  std::replace(text.begin(), text.end(), '=', ':');
  if (!colon && ParseNeeds(text, &needs).empty() && needs.resources.empty()) return {};
  return "'" + given + "': write NAME=VALUE,... where each part is 1 to 64 letters, digits, '-', '_' and '.'";
}

std::string CheckSize(std::string& text) {
  std::uint64_t bytes = 0;
  const std::string why = ParseStoreSize(text, &bytes);
  if (why.empty()) text = std::to_string(bytes);
  return why;
}

void AddScheduler(CLI::App& app, SchedulerStart* options) {
  CLI::App* scheduler = app.add_subcommand("scheduler", "The scheduler of a cluster");
  scheduler->require_subcommand(1);
  scheduler->footer("Example:\n  sheaf scheduler start --listen 127.0.0.1:7400\n");
  CLI::App* start = scheduler->add_subcommand("start", "Run a scheduler in the foreground until SIGTERM or Ctrl-C");
  start->add_option("--listen", options->listen,
                    "Unix socket path, 127.0.0.1:PORT, or IP:PORT for other machines (TLS, with the cluster's own "
                    "certificates); default: a socket in the runtime directory");
  start->add_option("--state", options->state_dir,
                    "Directory of what survives a restart; default: "
                    "$XDG_STATE_HOME/sheaf/scheduler or ~/.local/state/sheaf/scheduler");
  start->add_option("--address-file", options->address_file, "Write the address here once the scheduler serves");
  start->add_option("--lost-after", options->lost_after_s, "Seconds of silence after which a pool is lost")
      ->check(CLI::Range(1, 3600))
      ->capture_default_str();
  start->footer(
      "Examples:\n"
      "  sheaf scheduler start\n"
      "  sheaf scheduler start --listen 127.0.0.1:7400 --state /var/lib/sheaf\n"
      "  sheaf scheduler start --address-file run/scheduler &\n"
      "  sheaf scheduler start --listen 10.0.0.1:7400      then, for each machine: sheaf token create\n");
}

void AddPool(CLI::App& app, PoolStart* options) {
  CLI::App* pool = app.add_subcommand("pool", "The pool of this machine: memory and workers");
  pool->require_subcommand(1);
  pool->footer("Example:\n  sheaf pool start --workers 8\n");
  CLI::App* start = pool->add_subcommand("start", "Run a pool in the foreground until SIGTERM or Ctrl-C");
  start->add_option("--workers", options->workers, "Tasks that run at once, or 'auto': one per core")
      ->transform(CLI::Validator(CheckWorkers, "N|auto"))
      ->default_str("auto");
  start
      ->add_option("--store", options->store_bytes,
                   "Most shared memory that objects may use (4GiB); default: half of the memory")
      ->transform(CLI::Validator(CheckSize, "SIZE"));
  start->add_option("--resources", options->resources, "What tasks may ask for besides CPUs: NAME=AMOUNT,...")
      ->transform(CLI::Validator(CheckResources, "NAME=AMOUNT,..."));
  start->add_option("--labels", options->labels, "What tasks may ask their machine to be: NAME=VALUE,...")
      ->transform(CLI::Validator(CheckLabels, "NAME=VALUE,..."));
  start->add_option("--scheduler", options->scheduler,
                    "Join the cluster of this scheduler, or 'auto': the one on this machine");
  start->add_option("--join", options->join,
                    "Join a cluster on other machines: the scheduler's address, with --token-file the first time");
  start->add_option("--token-file", options->token_file, "Invitation made with: sheaf token create");
  start->add_option("--pki", options->pki, "Directory of this pool's certificate; default: one in the state directory");
  start->add_option("--relay-listen", options->relay_listen,
                    "IP:PORT where other pools' tasks come in; default: a free port of the loopback interface");
  start->add_option("--relay-address", options->relay_address,
                    "HOST:PORT that other machines connect to, if it differs from where this one listens");
  start->add_option("--socket", options->socket_path,
                    "Unix socket to listen on; default: one in the runtime directory");
  start->add_option("--id", options->pool_id, "Name in the cluster; default: HOST-PID");
  start->add_option("--address-file", options->address_file, "Write the address here once the pool serves");
  start->add_option("--drain", options->drain_s, "Seconds that running tasks get after SIGTERM")
      ->check(CLI::Range(0, 3600))
      ->capture_default_str();
  start->footer(
      "Examples:\n"
      "  sheaf pool start --workers 8 --store 16GiB\n"
      "  sheaf pool start --address-file run/pool &\n"
      "  SHEAF_ADDRESS=$(cat run/pool) ./program\n"
      "  sheaf pool start --scheduler 127.0.0.1:7400\n"
      "  sheaf pool start --resources gpu=2,scratch=0.5 --labels zone=a,kind=big\n"
      "  sheaf pool start --workers 0 --scheduler auto     runs nothing itself, its programs use the others\n");
}

void AddDrain(CLI::App& app, DrainRequest* request) {
  CLI::App* drain = app.add_subcommand("drain", "Take a pool out of its cluster: it hands over what it runs, and ends");
  drain->add_option("pool", request->pool, "Its name, as sheaf status shows it")->required();
  drain->add_option("--address", request->address,
                    "The scheduler's; default: SHEAF_ADDRESS if that is one, or the one on this machine");
  drain->add_option("--pki", request->pki, "Credentials for a scheduler on another machine")->envname("SHEAF_PKI");
  drain->add_option("--timeout", request->timeout_s, "Seconds to wait until it has ended")
      ->check(CLI::Range(1, 3600))
      ->capture_default_str();
  drain->footer("Examples:\n  sheaf drain worker1\n  sheaf drain worker1 --address 10.0.0.1:7400\n");
}

void AddLaunch(CLI::App& app, LaunchRequest* request) {
  CLI::App* launch = app.add_subcommand("launch", "Start a cluster on several machines, or end it");
  launch->require_subcommand(1);
  launch->footer("Example:\n  sheaf launch ssh worker1 worker2 --listen 10.0.0.1:7400\n");
  CLI::App* ssh =
      launch->add_subcommand("ssh", "On machines that ssh reaches without a password, with sheaf installed");
  ssh->add_option("hosts", request->hosts, "HOST or USER@HOST; each becomes a pool of that name")->required();
  ssh->add_option("--listen", request->listen, "IP:PORT of the scheduler on this machine, if none runs yet");
  ssh->add_option("--workers", request->workers, "Of each pool")->capture_default_str();
  ssh->add_option("--ssh", request->ssh, "The command that reaches a host, and its options")->capture_default_str();
  ssh->add_option("--remote-sheaf", request->remote, "The sheaf command there")->capture_default_str();
  ssh->add_flag("--down", request->down, "End these pools, and the scheduler");
  ssh->add_option("--timeout", request->timeout_s, "Seconds to wait for all of them")
      ->check(CLI::Range(1, 3600))
      ->capture_default_str();
  ssh->footer(
      "Examples:\n"
      "  sheaf launch ssh worker1 worker2 --listen 10.0.0.1:7400\n"
      "  sheaf launch ssh worker1 worker2 --down\n");
}

void AddToken(CLI::App& app, TokenCreate* options) {
  CLI::App* token = app.add_subcommand("token", "Invitations for machines that join the cluster");
  token->require_subcommand(1);
  token->footer("Example:\n  sheaf token create --out invitation\n");
  CLI::App* create = token->add_subcommand("create", "Make one, beside the scheduler; good for one machine");
  create->add_option("--out", options->out, "Write it here, readable by this user alone; default: standard output");
  create->add_option("--minutes", options->minutes, "How long it is good")
      ->check(CLI::Range(1, 1440))
      ->capture_default_str();
  create->add_option("--state", options->state_dir, "The scheduler's state directory, if it is not the default");
  create->add_option("--address", options->address,
                     "Where machines reach the scheduler, if it is not where it listens");
  create->footer(
      "Examples:\n"
      "  sheaf token create --out invitation\n"
      "  sheaf token create | ssh worker1 'umask 077; cat > invitation'\n"
      "It holds a secret: whoever has it can join the cluster once.\n");
}

void AddStatus(CLI::App& app, StatusRequest* request) {
  CLI::App* status = app.add_subcommand("status", "Show schedulers, pools and jobs");
  status
      ->add_option("--address", request->address,
                   "Pool socket or scheduler address; default: all that runs here for this user")
      ->envname("SHEAF_ADDRESS");
  status->add_option("--pki", request->pki, "Credentials for a scheduler on another machine")->envname("SHEAF_PKI");
  status->add_option("--format", request->format, "table or json")
      ->check(CLI::IsMember({"table", "json"}))
      ->capture_default_str();
  status->add_option("--timeout", request->timeout_s, "Seconds to wait for an answer")
      ->check(CLI::Range(1, 600))
      ->capture_default_str();
  status->footer(
      "Examples:\n"
      "  sheaf status\n"
      "  sheaf status --address 127.0.0.1:7400 --format json\n"
      "JSON: one document of schema sheaf.status.v1 on stdout, whatever happens.\n"
      "Exit code 3: nothing runs, or something did not answer.\n");
}

// What list, get and why take to find the scheduler that they ask.
void AddQuestion(CLI::App* command, ClusterQuestion* ask) {
  command
      ->add_option("--address", ask->address,
                   "The scheduler's, or the socket of a pool of its cluster; default: the one on this machine")
      ->envname("SHEAF_ADDRESS");
  command->add_option("--pki", ask->pki, "Credentials for a scheduler on another machine")->envname("SHEAF_PKI");
  command->add_option("--format", ask->format, "table or json")
      ->check(CLI::IsMember({"table", "json"}))
      ->capture_default_str();
  command->add_option("--timeout", ask->timeout_s, "Seconds to wait for an answer")
      ->check(CLI::Range(1, 600))
      ->capture_default_str();
}

void AddList(CLI::App& app, ListRequest* request) {
  CLI::App* list = app.add_subcommand("list", "List the pools, jobs or grants of a cluster");
  list->require_subcommand(1);
  for (const auto& [kind, what] : {std::pair("pools", "Machines, what they offer, use and lend"),
                                   std::pair("jobs", "Jobs that want or hold slots of other pools"),
                                   std::pair("grants", "Slots that one pool lends to a job of another")}) {
    CLI::App* one = list->add_subcommand(kind, what);
    AddQuestion(one, &request->ask);
    const std::string words = "  sheaf list " + std::string(kind);
    one->footer("Examples:\n" + words + "\n" + words + " --address 10.0.0.1:7400 --format json\n");
    one->callback([request, kind] { request->kind = kind; });
  }
  list->footer(
      "Examples:\n"
      "  sheaf list pools\n"
      "  sheaf list jobs --address 10.0.0.1:7400 --format json\n"
      "JSON: one document of schema sheaf.list.v1 on stdout, whatever happens.\n");
}

void AddGet(CLI::App& app, GetRequest* request) {
  CLI::App* get = app.add_subcommand("get", "Show one pool or job of a cluster");
  get->require_subcommand(1);
  for (const auto& [kind, what, name, example] :
       {std::tuple("pool", "A pool, its jobs, and what it lends", "Its name", "worker1"),
        std::tuple("job", "What a job wants and holds", "POOL/NUMBER", "worker1/3")}) {
    CLI::App* one = get->add_subcommand(kind, what);
    one->add_option("name", request->name, name)->required();
    AddQuestion(one, &request->ask);
    const std::string words = "  sheaf get " + std::string(kind) + " " + example;
    one->footer("Examples:\n" + words + "\n" + words + " --format json\n");
    one->callback([request, kind] { request->kind = kind; });
  }
  get->footer(
      "Examples:\n"
      "  sheaf get pool worker1\n"
      "  sheaf get job worker1/3               as sheaf list jobs names it\n"
      "JSON: one document of schema sheaf.get.v1. Exit code 4: there is none of that name.\n");
}

void AddWhy(CLI::App& app, WhyRequest* request) {
  CLI::App* why = app.add_subcommand("why", "Say why a job has no (more) slots on other pools");
  why->add_option("job", request->job, "POOL/NUMBER, as sheaf list jobs names it")->required();
  AddQuestion(why, &request->ask);
  why->footer("Example:\n  sheaf why worker1/3\nJSON: one document of schema sheaf.why.v1.\n");
}

void AddStop(CLI::App& app, StopRequest* request) {
  CLI::App* stop = app.add_subcommand("stop", "Stop pools and schedulers; running tasks may end");
  // The variable is read by RunStop: CLI11 would take it for the flag, and --all excludes only that one.
  auto* address = stop->add_option("--address", request->address,
                                   "Pool socket or scheduler address; default: SHEAF_ADDRESS, "
                                   "then the only one that runs");
  stop->add_flag("--all", request->all, "Everything of this user on this machine")->excludes(address);
  stop->add_option("--timeout", request->timeout_s, "Seconds to wait until it has ended")
      ->check(CLI::Range(1, 3600))
      ->capture_default_str();
  stop->footer(
      "Examples:\n"
      "  sheaf stop                            the only one that runs here\n"
      "  sheaf stop --address /run/user/1000/sheaf/pool-4711.sock\n"
      "  sheaf stop --all --timeout 60\n");
}

}  // namespace

int RunCommandLine(int argc, char** argv) {
  CLI::App app("Sheaf runs plain C++ functions on every core of a machine.", "sheaf");
  app.set_version_flag("--version", std::string("sheaf ") + kVersion);
  app.require_subcommand(1);
  app.footer(kFooter);
  SchedulerStart scheduler;
  PoolStart pool;
  StatusRequest status;
  StopRequest stop;
  TokenCreate token;
  DrainRequest drain;
  std::string shell = "bash";
  AddScheduler(app, &scheduler);
  AddPool(app, &pool);
  AddStatus(app, &status);
  AddStop(app, &stop);
  AddToken(app, &token);
  AddDrain(app, &drain);
  ListRequest list;
  GetRequest get;
  WhyRequest why;
  AddList(app, &list);
  AddGet(app, &get);
  AddWhy(app, &why);
  LaunchRequest launch;
  AddLaunch(app, &launch);
  CLI::App* doctor = app.add_subcommand("doctor", "Check what this machine needs to run pools");
  doctor->footer("Example:\n  sheaf doctor\nExit code 1: something is missing, and it says what to do about it.\n");
  CLI::App* completion = app.add_subcommand("completion", "Print the shell's completion script");
  completion->add_option("shell", shell, "bash")->check(CLI::IsMember({"bash"}));
  completion->footer("Example:\n  source <(sheaf completion bash)\n");

  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& done) {  // --help, --version
    app.exit(done);
    return kExitOk;
  } catch (const CLI::ParseError& error) {
    const UsageError usage = FindUsageError(app, {argv + 1, argv + argc});
    std::fprintf(stderr, "sheaf: %s\nTry: %s --help\n", usage.what.empty() ? error.what() : usage.what.c_str(),
                 usage.command.c_str());
    return kExitUsage;
  }

  if (app.got_subcommand("status")) return RunStatus(status, argv);
  if (app.got_subcommand("list")) return RunList(list, argv);
  if (app.got_subcommand("get")) return RunGet(get, argv);
  if (app.got_subcommand("why")) return RunWhy(why, argv);
  if (app.got_subcommand("launch")) return RunLaunch(launch, argv);
  if (app.got_subcommand("drain")) return RunDrain(drain, argv);
  if (app.got_subcommand("token")) return RunTokenCreate(token, argv);
  if (app.got_subcommand("stop")) return RunStop(stop, argv);
  if (app.got_subcommand(doctor)) return RunDoctor();
  if (app.got_subcommand(completion)) return PrintCompletion(app);
  if (app.got_subcommand("scheduler")) return RunSchedulerStart(scheduler, argv);
  return RunPoolStart(pool);
}

}  // namespace sheaf::cli
