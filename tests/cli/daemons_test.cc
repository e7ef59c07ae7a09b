// The real executables as a user starts them: daemons, programs against them, status, stop.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/cli/daemons_fixture.h"

namespace sheaf::cli {
namespace {

TEST_F(DaemonsTest, AProgramRunsUnchangedAgainstAPoolThatStays) {
  const std::string file = directory_ + "/pool.address";
  Child pool = Sheaf({"pool", "start", "--workers", "2", "--store", "256MiB", "--address-file", file});
  const std::string ready = pool.Line();
  ASSERT_NE(ready.find("sheaf pool ready: address "), std::string::npos) << ready << pool.Errors();
  const std::string address = Word(ready, "address");
  EXPECT_EQ(FileText(file), address);

  environment_["SHEAF_ADDRESS"] = address;
  for (int round = 0; round < 2; ++round) {
    Child program({SHEAF_PROGRAM, "--stay"}, environment_);
    EXPECT_EQ(program.Line(), "sum 338350");
    EXPECT_EQ(program.Line(), "supervisor " + std::to_string(pool.pid()))
        << "the workers are the pool's, not the program's own";
    const json status = Status();  // SHEAF_ADDRESS is the pool's: it is asked directly
    ASSERT_EQ(status["pools"].size(), 1u);
    const json& own = status["pools"][0];
    EXPECT_EQ(own["state"], "alone");
    EXPECT_EQ(std::to_string(own["pid"].get<int>()), Word(ready, "pid"));
    EXPECT_EQ(std::to_string(own["supervisor_pid"].get<int>()), Word(ready, "supervisor"));
    EXPECT_EQ(own["slots"], 2);
    EXPECT_EQ(own["budget_bytes"], 256 << 20);
    EXPECT_GE(own["tasks_executed"], 100);
    ASSERT_EQ(own["jobs"].size(), 1u);
    EXPECT_EQ(own["jobs"][0]["driver_pid"], program.pid());
    EXPECT_NE(own["jobs"][0]["program"].get<std::string>().find("daemons_program"), std::string::npos);
    program.CloseInput();
    EXPECT_EQ(program.Wait(), 0) << program.Errors();
  }
  pool.Signal(SIGTERM);
  EXPECT_EQ(pool.Wait(), 0) << pool.Errors();
  EXPECT_FALSE(std::filesystem::exists(file));
  EXPECT_FALSE(std::filesystem::exists(address));
  EXPECT_TRUE(std::filesystem::is_empty(directory_ + "/sheaf"));
}

TEST_F(DaemonsTest, TheSameProgramRunsWithoutAnyDaemon) {
  Child program({SHEAF_PROGRAM}, environment_);
  EXPECT_EQ(program.Line(), "sum 338350");
  EXPECT_EQ(program.Wait(), 0) << program.Errors();
}

TEST_F(DaemonsTest, AProgramThatIsGivenASchedulersSocketIsToldSo) {
  Child scheduler = Sheaf({"scheduler", "start"});
  const std::string address = Word(scheduler.Line(), "address");
  ASSERT_NE(address, "") << scheduler.Errors();
  environment_["SHEAF_ADDRESS"] = address;
  Child program({SHEAF_PROGRAM}, environment_);
  const std::string errors = program.Errors();
  EXPECT_NE(errors.find("is a scheduler's address"), std::string::npos) << errors;
  EXPECT_NE(errors.find("`sheaf pool start --scheduler " + address + "`"), std::string::npos) << errors;
}

TEST_F(DaemonsTest, SeveralPoolsJoinOneScheduler) {
  Child scheduler = Sheaf({"scheduler", "start", "--lost-after", "2"});
  const std::string ready = scheduler.Line();
  ASSERT_NE(ready.find("sheaf scheduler ready: address unix:"), std::string::npos) << scheduler.Errors();
  const std::string address = Word(ready, "address");
  Child first = Sheaf({"pool", "start", "--workers", "1", "--id", "first", "--scheduler", "auto"});
  ASSERT_NE(first.Line(), "") << first.Errors();
  Child second = Sheaf({"pool", "start", "--workers", "2", "--id", "second", "--scheduler", address});
  ASSERT_NE(second.Line(), "") << second.Errors();
  const auto states = [](const json& status) {
    std::map<std::string, std::string> all;
    for (const json& pool : status["pools"]) {
      if (pool["cluster_id"].is_string()) all[pool["pool_id"]] = pool["state"];
    }
    return all;
  };
  using States = std::map<std::string, std::string>;
  EXPECT_TRUE(StatusBecomes([&](const json& status) {
    return states(status) == States{{"first", "alive"}, {"second", "alive"}};
  })) << Status().dump();
  const std::string table = Run({"status"}, 0);
  EXPECT_NE(table.find("first   alive"), std::string::npos) << table;

  // A program runs on a member as on any pool.
  environment_["SHEAF_ADDRESS"] = Status(0)["pools"][0]["address"];
  Child program({SHEAF_PROGRAM}, environment_);
  EXPECT_EQ(program.Line(), "sum 338350");
  EXPECT_EQ(program.Wait(), 0) << program.Errors();
  environment_["SHEAF_ADDRESS"] = "";

  // The pool itself: one whose supervisor dies may still find the time to say goodbye, and is then "left", not "lost".
  pid_t victim = 0;
  const json now = Status();
  for (const json& pool : now["pools"]) {
    if (pool["pool_id"] == "second") victim = pool["pid"];
  }
  ASSERT_GT(victim, 1);
  ASSERT_EQ(kill(victim, SIGKILL), 0);
  EXPECT_EQ(second.Wait(), 1) << "a supervisor without its pool has failed";
  EXPECT_TRUE(StatusBecomes([&](const json& status) {
    return states(status) == States{{"first", "alive"}, {"second", "lost"}};
  })) << Status().dump();

  // The scheduler dies and comes back at the same address: the pool returns by itself, in a new epoch.
  const json before = Status()["schedulers"][0];
  scheduler.Signal(SIGKILL);
  EXPECT_EQ(scheduler.Wait(), 128 + SIGKILL);
  Child again = Sheaf({"scheduler", "start", "--listen", address, "--lost-after", "2"});
  ASSERT_NE(again.Line(), "") << again.Errors();
  EXPECT_TRUE(StatusBecomes([&](const json& status) { return states(status)["first"] == "alive"; })) << Status().dump();
  const json after = Status()["schedulers"][0];
  EXPECT_EQ(after["cluster_id"], before["cluster_id"]);
  EXPECT_EQ(after["epoch"], before["epoch"].get<int>() + 1);

  EXPECT_NE(Run({"stop", "--all"}, 0).find("stopped unix:"), std::string::npos);
  EXPECT_EQ(first.Wait(), 0) << first.Errors();
  EXPECT_EQ(again.Wait(), 0) << again.Errors();
}

TEST_F(DaemonsTest, ASecondPoolOfANameWaitsUntilTheFirstIsLost) {
  Child scheduler = Sheaf({"scheduler", "start"});
  const std::string address = Word(scheduler.Line(), "address");
  ASSERT_NE(address, "") << scheduler.Errors();
  const std::vector<std::string> words = {"pool", "start", "--workers", "1", "--id", "same", "--scheduler", address};
  Child first = Sheaf(words);
  const std::string pid = Word(first.Line(), "pid");
  const auto pid_of_same = [&](const json& status) {
    for (const json& pool : status["pools"])
      if (pool["pool_id"] == "same" && pool["cluster_id"].is_string() && pool["state"] == "alive")
        return std::to_string(pool["pid"].get<int>());
    return std::string();
  };
  ASSERT_TRUE(StatusBecomes([&](const json& status) { return pid_of_same(status) == pid; })) << Status().dump();
  Child second = Sheaf(words);
  const std::string other = Word(second.Line(), "pid");
  const std::string refused = second.ErrorLine();
  EXPECT_NE(refused.find("a pool named same is alive"), std::string::npos) << refused;
  EXPECT_NE(refused.find("process " + pid), std::string::npos) << refused;
  EXPECT_EQ(pid_of_same(Status()), pid) << "the first is unharmed";
  ASSERT_EQ(kill(std::stoi(pid), SIGKILL), 0);
  EXPECT_TRUE(StatusBecomes([&](const json& status) { return pid_of_same(status) == other; })) << Status().dump();
}

TEST_F(DaemonsTest, ListGetAndWhyTellOfAJobThatWaitsForAnotherPool) {
  Child scheduler = Sheaf({"scheduler", "start"});
  const std::string address = Word(scheduler.Line(), "address");
  ASSERT_NE(address, "") << scheduler.Errors();
  EXPECT_EQ(Run({"list", "pools"}, 0), "no pools yet\n");
  Child near = Sheaf({"pool", "start", "--workers", "0", "--id", "near", "--scheduler", address});
  const std::string socket = Word(near.Line(), "address");
  ASSERT_NE(socket, "") << near.Errors();
  environment_["SHEAF_ADDRESS"] = socket;  // a pool's, as programs have it: its scheduler is asked
  Child program({SHEAF_PROGRAM}, environment_);
  const auto ask = [&](std::vector<std::string> words, int exit_code = 0) {
    words.insert(words.end(), {"--format", "json"});
    const std::string text = Run(words, exit_code);
    EXPECT_TRUE(json::accept(text)) << text;
    return json::parse(text, nullptr, false);
  };
  const auto deadline = std::chrono::steady_clock::now() + Child::kPatience;
  json jobs = json::array();
  while (jobs.empty() && std::chrono::steady_clock::now() < deadline) jobs = ask({"list", "jobs"})["jobs"];
  ASSERT_EQ(jobs.size(), 1u);
  EXPECT_EQ(jobs[0]["pool_id"], "near");
  EXPECT_GT(jobs[0]["wants"], 0);
  EXPECT_EQ(jobs[0]["holds"], 0);
  EXPECT_TRUE(jobs[0]["waiting_ms"].is_number());
  const std::string name = jobs[0]["job_id"];
  EXPECT_EQ(ask({"why", name})["reason"], "infeasible");
  EXPECT_NE(Run({"why", name}, 0).find("No other pool of the cluster lends anything."), std::string::npos);
  EXPECT_EQ(ask({"get", "job", name})["job"]["job_id"], name);
  EXPECT_EQ(ask({"get", "pool", "near"})["jobs"].size(), 1u);
  EXPECT_TRUE(ask({"list", "grants"})["grants"].empty());
  EXPECT_TRUE(ask({"get", "pool", "nobody"}, 4)["pool"].is_null());
  EXPECT_TRUE(ask({"get", "job", "near/4000000000"}, 4)["job"].is_null());
  EXPECT_TRUE(ask({"why", "nobody/1"}, 4)["reason"].is_null());
  EXPECT_TRUE(ask({"why", "near/4000000000"}, 4)["reason"].is_null());
  std::string of_get, of_why;
  Run({"get", "job", "near/4000000000"}, 4, &of_get);
  Run({"why", "near/4000000000"}, 4, &of_why);
  EXPECT_NE(of_why.find("no job near/4000000000"), std::string::npos) << of_why;
  EXPECT_EQ(of_get, of_why);

  Child far = Sheaf({"pool", "start", "--workers", "1", "--id", "far", "--scheduler", address});
  ASSERT_NE(far.Line(), "") << far.Errors();
  EXPECT_EQ(program.Line(), "sum 338350");
  EXPECT_EQ(program.Wait(), 0) << program.Errors();
  const json pools = ask({"list", "pools"})["pools"];
  ASSERT_EQ(pools.size(), 2u);
  EXPECT_EQ(pools[0]["pool_id"], "far");
  EXPECT_EQ(pools[0]["offered_milli"], 1000);
}

TEST_F(DaemonsTest, AProgramThatNobodyRunsSaysWhatItWaitsForAndThatItGoesOn) {
  const std::string at = directory_ + "/scheduler.sock";
  Child near = Sheaf({"pool", "start", "--workers", "0", "--id", "near", "--scheduler", at});
  const std::string socket = Word(near.Line(), "address");
  ASSERT_NE(socket, "") << near.Errors();
  environment_["SHEAF_ADDRESS"] = socket;
  Child program({SHEAF_PROGRAM}, environment_);
  environment_["SHEAF_ADDRESS"] = "";
  const std::string waits = program.ErrorLine();
  EXPECT_EQ(waits.rfind("sheaf: this program waits: its pool near has no workers and is in no cluster", 0), 0u)
      << waits;
  EXPECT_NE(waits.find(at), std::string::npos) << waits;
  EXPECT_NE(waits.find("sheaf pool start"), std::string::npos) << waits;
  Child scheduler = Sheaf({"scheduler", "start", "--listen", at});
  ASSERT_NE(scheduler.Line(), "") << scheduler.Errors();
  Child far = Sheaf({"pool", "start", "--workers", "1", "--id", "far", "--scheduler", at});
  ASSERT_NE(far.Line(), "") << far.Errors();
  EXPECT_EQ(program.ErrorLine(), "sheaf: this program goes on");
  EXPECT_EQ(program.Line(), "sum 338350");
  EXPECT_EQ(program.Wait(), 0) << program.Errors();
}

TEST_F(DaemonsTest, AProgramThatWaitsForOtherPoolsIsToldHowToSeeWhy) {
  Child scheduler = Sheaf({"scheduler", "start"});
  const std::string address = Word(scheduler.Line(), "address");
  ASSERT_NE(address, "") << scheduler.Errors();
  Child near = Sheaf({"pool", "start", "--workers", "0", "--id", "near", "--scheduler", address});
  const std::string socket = Word(near.Line(), "address");
  ASSERT_NE(socket, "") << near.Errors();
  environment_["SHEAF_ADDRESS"] = socket;
  Child program({SHEAF_PROGRAM}, environment_);
  environment_["SHEAF_ADDRESS"] = "";
  const std::string waits = program.ErrorLine();
  const std::string command = "sheaf why ", where = " --address " + socket;
  const std::size_t begin = waits.find(command), end = waits.find(where);
  ASSERT_TRUE(begin != std::string::npos && end != std::string::npos) << waits;
  const std::string job = waits.substr(begin + command.size(), end - begin - command.size());
  EXPECT_NE(Run({"why", job, "--address", socket}, 0).find("No other pool"), std::string::npos);
}

TEST_F(DaemonsTest, ARestartedSchedulerShowsWhatItHadGranted) {
  const std::string pipe = directory_ + "/pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  Child scheduler = Sheaf({"scheduler", "start"});
  const std::string address = Word(scheduler.Line(), "address");
  ASSERT_NE(address, "") << scheduler.Errors();
  Child near = Sheaf({"pool", "start", "--workers", "0", "--id", "near", "--scheduler", address});
  const std::string socket = Word(near.Line(), "address");
  Child far = Sheaf({"pool", "start", "--workers", "1", "--id", "far", "--scheduler", address});
  ASSERT_NE(far.Line(), "") << far.Errors();
  environment_["SHEAF_ADDRESS"] = socket;
  Child program({SHEAF_PROGRAM, "--hold", pipe}, environment_);
  environment_["SHEAF_ADDRESS"] = "";
  EXPECT_EQ(program.Line(), "sum 338350");
  EXPECT_NE(program.Line(), "");  // the task that holds is on its way
  const auto list = [&](const std::string& kind) {
    return json::parse(Run({"list", kind, "--address", address, "--format", "json"}, 0), nullptr, false)[kind];
  };
  const auto becomes = [&](const std::function<bool(const json&)>& wanted) {
    const auto deadline = std::chrono::steady_clock::now() + Child::kPatience;
    while (std::chrono::steady_clock::now() < deadline)
      if (wanted(list("grants"))) return true;
    return false;
  };
  ASSERT_TRUE(becomes([](const json& grants) { return grants.size() == 1; }));
  const json before = list("grants")[0];
  EXPECT_EQ(before["standing"], "granted");
  pid_t pool = 0;
  for (const json& one : list("pools"))
    if (one["pool_id"] == "near") pool = one["pid"];
  ASSERT_GT(pool, 1);
  ASSERT_EQ(kill(pool, SIGSTOP), 0);  // it cannot report
  scheduler.Signal(SIGTERM);
  EXPECT_EQ(scheduler.Wait(), 0);
  Child again = Sheaf({"scheduler", "start", "--listen", address});
  ASSERT_EQ(Word(again.Line(), "address"), address) << again.Errors();
  const json grants = list("grants"), jobs = list("jobs");
  const std::string why = Run({"why", before["job_id"], "--address", address}, 0);
  EXPECT_EQ(kill(pool, SIGCONT), 0);
  ASSERT_EQ(grants.size(), 1u);
  EXPECT_EQ(grants[0]["standing"], "expected");
  EXPECT_EQ(grants[0]["id"], before["id"]);
  EXPECT_EQ(grants[0]["lender"], "far");
  ASSERT_EQ(jobs.size(), 1u);
  EXPECT_EQ(jobs[0]["expected"], true);
  EXPECT_EQ(jobs[0]["holds"], 1);
  EXPECT_NE(why.find("Granted before: 1 on far."), std::string::npos) << why;
  EXPECT_TRUE(becomes([](const json& now) { return now.size() == 1 && now[0]["standing"] == "granted"; }));
  std::ofstream(pipe) << 'x';
  EXPECT_EQ(program.Line(), "held x");
  EXPECT_EQ(program.Wait(), 0) << program.Errors();
}

TEST_F(DaemonsTest, StopEndsTheOnlyDaemonAndAsksWhichOfSeveral) {
  Child pool = Sheaf({"pool", "start", "--workers", "1"});
  const std::string address = Word(pool.Line(), "address");
  Child scheduler = Sheaf({"scheduler", "start", "--listen", "127.0.0.1:0"});
  const std::string tcp = Word(scheduler.Line(), "address");
  std::string errors;
  Run({"stop"}, 2, &errors);
  EXPECT_NE(errors.find(address), std::string::npos) << errors;
  EXPECT_NE(errors.find(tcp), std::string::npos) << errors;
  Run({"list", "pools", "--address", address}, 4, &errors);
  EXPECT_NE(errors.find("in no cluster"), std::string::npos) << errors;
  Run({"stop", "--address", tcp}, 0);
  EXPECT_EQ(scheduler.Wait(), 0) << scheduler.Errors();
  environment_["SHEAF_ADDRESS"] = address;  // names the pool, as --address would; --all does not mind it
  Run({"stop"}, 0);
  EXPECT_EQ(pool.Wait(), 0) << pool.Errors();
  Run({"stop"}, 3);
  Run({"stop", "--all"}, 0);
  environment_["SHEAF_ADDRESS"] = "";
  Run({"stop"}, 4);
  Run({"stop", "--all"}, 0);
}

TEST_F(DaemonsTest, DoesNotStartTwiceAtOneAddressOrOnOneState) {
  const std::string socket = directory_ + "/s.sock";
  Child scheduler = Sheaf({"scheduler", "start", "--listen", socket});
  ASSERT_NE(scheduler.Line(), "") << scheduler.Errors();
  std::string errors;
  Run({"scheduler", "start"}, 1, &errors);
  EXPECT_NE(errors.find("another scheduler uses it"), std::string::npos) << errors;
  Run({"scheduler", "start", "--listen", socket, "--state", directory_ + "/other"}, 1, &errors);
  EXPECT_NE(errors.find("another scheduler listens"), std::string::npos) << errors;
  Run({"pool", "start", "--socket", socket}, 1);
  EXPECT_EQ(Status()["schedulers"].size(), 1u) << "the first one is unharmed";
}

TEST_F(DaemonsTest, WhatAKilledPoolLeavesBehindIsSweptByTheNext) {
  std::filesystem::create_directories(directory_ + "/sheaf");
  std::filesystem::permissions(directory_ + "/sheaf", std::filesystem::perms::owner_all);
  const std::string dead = directory_ + "/sheaf/pool-4194999.sock", ours = directory_ + "/sheaf/pool-x.sock";
  for (const std::string& path : {dead, dead + ".transfers", ours}) std::ofstream(path).close();
  Child pool = Sheaf({"pool", "start", "--workers", "1", "--store", "256MiB"});
  ASSERT_NE(pool.Line(), "") << pool.Errors();
  EXPECT_FALSE(std::filesystem::exists(dead));
  EXPECT_FALSE(std::filesystem::exists(dead + ".transfers"));
  EXPECT_TRUE(std::filesystem::exists(ours)) << "of nobody that it knows";
}
}  // namespace
}  // namespace sheaf::cli
