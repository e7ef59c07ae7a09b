#include "tests/worker/test_client.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "base/random.h"
#include "worker/page_writer.h"
#include "worker/pool_main.h"
#include "worker/pool_view.h"
#include "worker/supervisor.h"

namespace sheaf::testing {
namespace {

constexpr std::uint64_t kBuild[4] = {11, 22, 33, 44};

struct Bare {
  wire::Header header;
};

// Says everything that a worker may say, in any order, and ends when it likes.
int RunMonkey(TestClient& client, std::uint64_t seed) {
  Random random(seed);
  std::uint32_t peer = client.client();
  for (int step = 0; step < 200; ++step) {
    switch (random.Below(6)) {
      case 0:
        client.Send(wire::Kind::kBlocked, wire::Blocked{{}, static_cast<std::uint32_t>(random.Below(2)), 0});
        break;
      case 1:
        client.Send(wire::Kind::kWant, wire::Want{{}, static_cast<std::uint32_t>(random.Below(4)), 1000});
        break;
      case 2:
        client.Send(wire::Kind::kReturnWorker, wire::PairName{{}, peer, 0, 0, 0});
        break;
      case 3:
        if (random.OneIn(100)) return 3;
        break;
      default: {
        Packet packet;
        if (ReceivePacket(client.fd(), 65536, random.OneIn(3), &packet) == PacketResult::kClosed) return 9;
        if (packet.bytes.size() < sizeof(wire::OpenPair)) break;
        wire::OpenPair pair;
        std::memcpy(&pair, packet.bytes.data(), sizeof pair);
        if (pair.header.kind == wire::Kind::kOpenOut) peer = pair.peer;
      }
    }
  }
  return 0;
}

// Says that it has mapped a segment, and dies with a message of the pool unread.
int SayLastWords(TestClient& client) {
  client.Await(wire::Kind::kOpenIn);
  const auto made = client.Make(wire::SegmentKind::kLarge, 4096);
  if (!made || made->kind() != wire::Kind::kSegmentMade) return 8;
  const auto segment = made->As<wire::SegmentName>().segment;
  client.Send(wire::Kind::kOpenSegment, wire::SegmentName{{}, client.client(), segment, {}, 0, 0}, 79);
  pollfd answered{client.fd(), POLLIN, 0};
  if (poll(&answered, 1, 10'000) != 1) return 8;
  client.Mapped(segment);
  return 0;
}

// What the fake worker does is its second argument; see pool_server_test.cc.
int RunFakeWorker(const std::string& behaviour, std::uint32_t spawn) {
  if (behaviour == "dies-early") return 7;
  TestClient client{Fd(wire::kWorkerSocketFd)};
  if (behaviour == "garbage") {
    const std::byte bytes[3] = {};
    client.SendRaw(bytes);
    pause();
  }
  std::uint64_t build[4] = {11, 22, 33, 44};
  if (behaviour == "other-program") build[3] = 45;
  const pid_t pid = behaviour == "other-pid" ? 1 : getpid();
  const auto answer =
      client.Attach(wire::Role::kWorker, behaviour == "other-spawn" ? spawn + 1 : spawn, {}, build, pid);
  if (!answer || answer->kind() != wire::Kind::kWelcome) return 8;
  if (behaviour == "monkey") return RunMonkey(client, spawn);
  if (behaviour == "last-words") return SayLastWords(client);
  while (auto message = client.Next()) {
    if (message->kind() == wire::Kind::kDrain && behaviour != "stubborn") return 0;
    if (message->kind() == wire::Kind::kGone && behaviour != "keeps") {
      client.Send(wire::Kind::kGoneAck, wire::PeerName{{}, message->As<wire::Gone>().peer, 0});
    }
  }
  if (behaviour == "stubborn") pause();
  return 9;  // the pool is gone
}

}  // namespace

wire::Kind Received::kind() const { return As<wire::Header>().kind; }

TestClient TestClient::Connect(const std::string& path) {
  Fd fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::snprintf(address.sun_path, sizeof address.sun_path, "%s", path.c_str());
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) fd.Reset();
  return TestClient(std::move(fd));
}

std::optional<Received> TestClient::Next() {
  pollfd wait{socket_.get(), POLLIN, 0};
  if (poll(&wait, 1, 10'000) != 1) return std::nullopt;
  Packet packet;
  if (ReceivePacket(socket_.get(), 65536, false, &packet) != PacketResult::kOk) return std::nullopt;
  return Received{std::move(packet.bytes), std::move(packet.fds)};
}

std::optional<Received> TestClient::Await(wire::Kind kind) {
  while (auto message = Next()) {
    if (message->kind() == kind) return message;
  }
  return std::nullopt;
}

std::optional<Received> TestClient::Answer(std::uint64_t request) {
  while (auto message = Next()) {
    if (message->As<wire::Header>().request == request) return message;
  }
  return std::nullopt;
}

bool TestClient::AwaitClosed() {
  while (Next()) {
  }
  pollfd wait{socket_.get(), POLLIN, 0};
  return poll(&wait, 1, 0) == 1 && (wait.revents & (POLLHUP | POLLERR)) != 0;
}

std::optional<Received> TestClient::Attach(wire::Role role, std::uint32_t spawn, std::vector<std::string> arguments,
                                           const std::uint64_t* build, pid_t pid) {
  wire::Attach attach{};
  attach.version = wire::kVersion;
  attach.role = role;
  attach.spawn = spawn;
  attach.pid = static_cast<std::uint32_t>(pid ? pid : getpid());
  std::memcpy(attach.build, build ? build : kBuild, sizeof attach.build);
  std::vector<std::byte> tail;
  std::vector<int> fds;
  Fd executable;
  if (role == wire::Role::kDriver) {
    JobDescription job;
    job.directory = "/";
    job.arguments = std::move(arguments);
    if (job.arguments.empty()) job.arguments = {"fake", "usual"};
    job.environment = {"PATH=/usr/bin:/bin"};
    attach.argument_count = static_cast<std::uint32_t>(job.arguments.size());
    attach.environment_count = 1;
    AppendJobDescription(job, &tail);
    executable = Fd(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    fds = {executable.get(), 1, 2};
  }
  if (!Send(wire::Kind::kAttach, attach, 5, tail, fds)) return std::nullopt;
  auto answer = Next();
  if (!answer || answer->kind() != wire::Kind::kWelcome || answer->fds.size() != 4) return answer;
  welcome_ = answer->As<wire::Welcome>();
  segments_ = std::move(answer->fds);
  void* at = mmap(nullptr, welcome_.page_bytes, PROT_READ, MAP_SHARED, segments_[0].get(), 0);
  if (at != MAP_FAILED) page_ = static_cast<const wire::ControlPage*>(at);
  Send(wire::Kind::kAttached, Bare{});
  return answer;
}

std::optional<Received> TestClient::Make(wire::SegmentKind kind, std::uint64_t bytes, std::uint64_t request) {
  Send(wire::Kind::kMakeSegment, wire::MakeSegment{{}, kind, 0, bytes}, request);
  return Answer(request);
}

std::optional<Received> TestClient::Open(std::uint32_t client, std::uint32_t segment, std::uint64_t request) {
  Send(wire::Kind::kOpenSegment, wire::SegmentName{{}, client, segment, wire::SegmentKind::kControl, 0, 0}, request);
  return Answer(request);
}

void TestClient::Mapped(std::uint32_t segment) {
  Send(wire::Kind::kSegmentMapped, wire::SegmentName{{}, welcome_.client, segment, wire::SegmentKind::kControl, 0, 0});
}

PoolProcess::PoolProcess(const Options& options) {
  char name[] = "/tmp/sheaf-test-XXXXXX";
  directory_ = mkdtemp(name);
  path_ = directory_ + "/pool";
  int ready[2];
  if (pipe2(ready, O_CLOEXEC) != 0) std::abort();
  supervisor_ = fork();
  if (supervisor_ == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);  // nothing is left behind by a test that crashes
    for (const std::string& entry : options.environment) putenv(strdup(entry.c_str()));
    SupervisorOptions supervisor;
    supervisor.pool.slots = options.slots;
    supervisor.pool.store_bytes = options.store_bytes;
    supervisor.pool.socket_path = path_;
    supervisor.pool.drain_ms = options.drain_ms;
    supervisor.on_ready = [&](pid_t) { (void)!write(ready[1], "r", 1); };
    _exit(RunSupervisor(supervisor));
  }
  close(ready[1]);
  char byte;
  (void)!read(ready[0], &byte, 1);
  close(ready[0]);
}

PoolProcess::~PoolProcess() {
  if (supervisor_ > 0) Stop(SIGKILL);
  unlink(path_.c_str());
  rmdir(directory_.c_str());
}

pid_t PoolProcess::pool() {
  const auto view = PoolViewFromJson(StatusOf(path_));
  return view ? static_cast<pid_t>(view->pid) : 0;
}

int PoolProcess::Stop(int signal) {
  kill(supervisor_, signal);
  return AwaitExit();
}

int PoolProcess::AwaitExit() {
  int status = 0;
  while (waitpid(supervisor_, &status, 0) < 0 && errno == EINTR) {
  }
  supervisor_ = 0;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

bool RunTestRole(int argc, char** argv, int* exit_code) {
  if (argc > 1 && std::string(argv[1]) == "internal-pool") {
    PoolOptions options;
    std::string reason;
    if (!ParsePoolArguments({argv + 2, argv + argc}, &options, &reason)) std::abort();
    *exit_code = RunPool(options);
    return true;
  }
  if (const char* spawn = getenv(wire::kWorkerEnvironment)) {
    *exit_code = RunFakeWorker(argc > 1 ? argv[1] : "", static_cast<std::uint32_t>(std::atoi(spawn)));
    return true;
  }
  return false;
}

std::string StatusOf(const std::string& path) {
  TestClient client = TestClient::Connect(path);
  client.Send(wire::Kind::kStatus, Bare{}, 1);
  const auto answer = client.Await(wire::Kind::kStatusReply);
  return answer ? answer->Tail<Bare>() : "";
}

bool Eventually(bool (*f)(void*), void* argument) {
  for (int i = 0; i < 10'000; ++i) {
    if (f(argument)) return true;
    usleep(1000);
  }
  return false;
}

bool ProcessExists(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  if (!std::getline(stat, text)) return false;
  const std::size_t end = text.rfind(')');
  return end != std::string::npos && text.size() > end + 2 && text[end + 2] != 'Z';
}

}  // namespace sheaf::testing
