// What the real executables say to command lines and states that make no sense, and their exit codes.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/cli/daemons_fixture.h"

namespace sheaf::cli {
namespace {

class ComplaintsTest : public DaemonsTest {};

TEST_F(ComplaintsTest, ExitCodesSayWhatWentWrong) {
  std::string errors;
  Run({}, 2);
  Run({"status", "--format", "yaml"}, 2);
  Run({"pool", "start", "--workers", "4097"}, 2, &errors);
  EXPECT_NE(errors.find("0 to 4096"), std::string::npos) << errors;
  Run({"pool", "start", "--workers", "0"}, 2, &errors);
  EXPECT_NE(errors.find("in a cluster only"), std::string::npos) << errors;
  Run({"pool", "start", "--store", "lots"}, 2);
  Run({"pool", "start", "--store", "1"}, 2, &errors);
  EXPECT_NE(errors.find("64MiB is the least"), std::string::npos) << errors;
  Run({"pool", "start", "--scheduler", "auto"}, 4);
  Run({"pool", "start", "--scheduler", "10.0.0.1:7400"}, 5, &errors);
  EXPECT_NE(errors.find("token-file"), std::string::npos) << errors;
  Run({"scheduler", "start", "--listen", "nowhere"}, 2);
  EXPECT_TRUE(Status(3)["pools"].empty());
  EXPECT_EQ(Status(3, {"--address", directory_ + "/absent"})["unreachable"].size(), 1u);
  EXPECT_EQ(Status(3, {"--address", "127.0.0.1:1"})["unreachable"].size(), 1u);
  EXPECT_EQ(Status(5, {"--address", "10.1.1.1:1"})["unreachable"].size(), 1u);
  Run({"stop", "--address", directory_ + "/absent"}, 3);
  Run({"list"}, 2);
  Run({"list", "threads"}, 2);
  Run({"list", "pools", "--format", "yaml"}, 2);
  Run({"get", "job", "7"}, 2, &errors);
  EXPECT_NE(errors.find("POOL/NUMBER"), std::string::npos) << errors;
  Run({"why", "near"}, 2);
  Run({"list", "pools"}, 3);
  Run({"list", "pools", "--address", "nowhere"}, 2);
  Run({"list", "pools", "--address", directory_ + "/absent"}, 3);
  Run({"list", "pools", "--address", "10.1.1.1:1"}, 5);
  EXPECT_TRUE(json::accept(Run({"why", "near/1", "--address", "127.0.0.1:1", "--format", "json"}, 3)));
}

TEST_F(ComplaintsTest, ACommandLineThatMakesNoSenseIsToldWhatIsNearest) {
  const auto complaint = [&](const std::vector<std::string>& words) {
    std::string errors;
    EXPECT_EQ(Run(words, 2, &errors), "");
    return errors;
  };
  EXPECT_EQ(complaint({"statsu"}),
            "sheaf: unknown command 'statsu'; did you mean 'sheaf status'?\nTry: sheaf --help\n");
  EXPECT_EQ(complaint({"start"}),
            "sheaf: unknown command 'start'; did you mean 'sheaf scheduler start' or 'sheaf pool start'?\n"
            "Try: sheaf --help\n");
  EXPECT_EQ(complaint({"list", "pols"}),
            "sheaf: unknown command 'pols'; did you mean 'sheaf list pools'?\nTry: sheaf list --help\n");
  EXPECT_EQ(complaint({"get", "machines"}),
            "sheaf: unknown command 'machines'; known here: pool, job\nTry: sheaf get --help\n");
  EXPECT_EQ(complaint({"pool"}), "sheaf: sheaf pool needs a command: start\nTry: sheaf pool --help\n");
  EXPECT_EQ(complaint({"pool", "start", "--wokers", "3"}),
            "sheaf: unknown option '--wokers' of sheaf pool start; did you mean '--workers'?\n"
            "Try: sheaf pool start --help\n");
  EXPECT_EQ(complaint({"--colour=never", "status"}), "sheaf: unknown option '--colour' of sheaf\nTry: sheaf --help\n");
  EXPECT_EQ(complaint({"status", "--timeout", "3", "now"}),
            "sheaf: 'now' is one word too many for sheaf status\nTry: sheaf status --help\n");
}

TEST_F(ComplaintsTest, ALaunchOnOtherMachinesIsRefusedWhereTheyCouldNotReachTheScheduler) {
  const std::vector<std::string> launch = {"launch", "ssh", "hostb", "--ssh", "false", "--listen"};
  const auto with = [&](const std::string& address) {
    auto words = launch;
    words.push_back(address);
    return words;
  };
  std::string errors;
  Run(with("127.0.0.1:7401"), 2, &errors);
  EXPECT_EQ(errors.rfind("sheaf: hostb cannot reach 127.0.0.1:7401, which is an address within this machine: launch "
                         "with --listen IP:PORT",
                         0),
            0u)
      << errors;
  EXPECT_TRUE(Status(3)["schedulers"].empty());
  Child scheduler = Sheaf({"scheduler", "start"});
  const std::string address = Word(scheduler.Line(), "address");
  Run({"launch", "ssh", "hostb", "--ssh", "false"}, 2, &errors);
  EXPECT_NE(errors.find("sheaf stop --address " + address), std::string::npos) << errors;
  // Another scheduler has the state: its own words say so.
  std::filesystem::create_directories(directory_ + "/state/sheaf");
  std::ofstream(directory_ + "/state/sheaf/scheduler.log") << "sheaf: of an earlier life\n";
  Run(with("10.255.255.254:7401"), 1, &errors);
  EXPECT_EQ(errors.rfind("sheaf: the scheduler did not start: ", 0), 0u) << errors;
  EXPECT_NE(errors.find("another scheduler uses it"), std::string::npos) << errors;
  EXPECT_EQ(errors.find("an earlier life"), std::string::npos) << errors;
}

TEST_F(ComplaintsTest, AComplaintNamesAnAddressOnce) {
  const std::string absent = directory_ + "/absent";
  for (const auto& words : {std::vector<std::string>{"list", "pools"}, {"status"}, {"stop"}}) {
    auto all = words;
    all.insert(all.end(), {"--address", absent});
    std::string errors;
    Run(all, 3, &errors);
    EXPECT_EQ(errors, "sheaf: " + absent + ": No such file or directory\n");
  }
  std::string errors;
  Run({"list", "pools", "--address", "127.0.0.1:1"}, 3, &errors);
  EXPECT_EQ(errors.rfind("sheaf: no scheduler answers at 127.0.0.1:1: ", 0), 0u) << errors;
  // What cannot be an address is a mistake in the command line, for all of them.
  for (const auto& words : {std::vector<std::string>{"list", "pools"}, {"status"}, {"stop"}, {"drain", "one"}}) {
    auto all = words;
    all.insert(all.end(), {"--address", "nonsense"});
    Run(all, 2, &errors);
    EXPECT_NE(errors.find("not an address: 'nonsense'"), std::string::npos) << errors;
  }
}

TEST_F(ComplaintsTest, AMissingCertificateIsLookedForWhereTheMachinesPoolsKeepTheirs) {
  std::string errors;
  const std::vector<std::string> words = {"list", "pools", "--timeout", "1", "--address", "10.1.1.1:1"};
  Run(words, 5, &errors);
  EXPECT_NE(errors.find("a pool that has joined keeps its own in " + directory_ + "/state/sheaf/pools/NAME"),
            std::string::npos)
      << errors;
  for (const std::string name : {"a", "b"}) {
    const std::string pool = directory_ + "/state/sheaf/pools/" + name;
    std::filesystem::create_directories(pool);
    for (const char* file : {"/key.pem", "/cert.pem", "/ca.pem"}) std::ofstream(pool + file) << "text";
  }
  Run(words, 5, &errors);
  EXPECT_NE(errors.find("one of " + directory_ + "/state/sheaf/pools/a " + directory_ + "/state/sheaf/pools/b"),
            std::string::npos)
      << errors;
  auto named = words;
  named.insert(named.end(), {"--pki", directory_ + "/state/sheaf/pools/c"});
  Run(named, 5, &errors);
  EXPECT_NE(errors.find("there is none in " + directory_ + "/state/sheaf/pools/c"), std::string::npos) << errors;
}

TEST_F(ComplaintsTest, AResourceWithoutItsAmountIsToldFromALabel) {
  std::string errors;
  Run({"pool", "start", "--resources", "gpu"}, 2, &errors);
  EXPECT_NE(errors.find("'gpu' has no amount: write NAME=AMOUNT,..., for example gpu=1"), std::string::npos) << errors;
  EXPECT_NE(errors.find("--labels NAME=VALUE"), std::string::npos) << errors;
}

TEST_F(ComplaintsTest, TheAdviceOfATokenIsAWholeCommand) {
  std::string errors;
  // Of a state that looks like one of a scheduler that others can reach.
  const std::string state = directory_ + "/reachable";
  std::filesystem::create_directories(state + "/pki/authority");
  std::ofstream(state + "/pki/authority/cert.pem") << "certificate";
  Run({"token", "create", "--state", state, "--address", "10.0.0.1:7400", "--out", directory_ + "/one"}, 0, &errors);
  EXPECT_NE(errors.find("sheaf pool start --join 10.0.0.1:7400 --token-file " + directory_ + "/one"), std::string::npos)
      << errors;
}

TEST_F(ComplaintsTest, DoesNotServeWhereNobodyWouldFindIt) {
  const std::string nowhere = directory_ + "/no/such/file";
  std::string errors;
  Run({"scheduler", "start", "--address-file", nowhere}, 1, &errors);
  EXPECT_NE(errors.find(nowhere), std::string::npos) << errors;
  Run({"pool", "start", "--workers", "1", "--address-file", nowhere}, 1, &errors);
  EXPECT_NE(errors.find(nowhere), std::string::npos) << errors;
  EXPECT_TRUE(Status(3)["pools"].empty());
}

TEST_F(ComplaintsTest, SaysWhatToDoAboutADamagedState) {
  std::filesystem::create_directories(directory_ + "/damaged");
  std::ofstream(directory_ + "/damaged/state.db") << std::string(10000, 'x');
  std::string errors;
  Run({"scheduler", "start", "--state", directory_ + "/damaged"}, 1, &errors);
  EXPECT_NE(errors.find("move the file away"), std::string::npos) << errors;
}

TEST_F(ComplaintsTest, HelpAndCompletionNeedNoDaemon) {
  EXPECT_NE(Run({"--help"}, 0).find("Exit codes"), std::string::npos);
  EXPECT_NE(Run({"pool", "start", "--help"}, 0).find("SHEAF_ADDRESS=$(cat"), std::string::npos);
  EXPECT_NE(Run({"--version"}, 0).find("sheaf 0."), std::string::npos);
  EXPECT_NE(Run({"completion", "bash"}, 0).find("complete -F _sheaf sheaf"), std::string::npos);
  EXPECT_NE(Run({"completion", "bash"}, 0).find("sheaf/list/jobs) words="), std::string::npos);
  EXPECT_NE(Run({"doctor"}, 0).find("sealed shared memory"), std::string::npos);
}
}  // namespace
}  // namespace sheaf::cli
