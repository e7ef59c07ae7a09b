// Bare TCP on the loopback interface, and a bare TLS stream over a link: the limits of everything between two pools.
//
//   ping    64 bytes there and back, both sides blocking in recv        -> limit.tcp.us
//   stream  1 GiB from a warm buffer into a warm one, one connection    -> limit.tcp.gbps, and the CPU of both ends:
//                                                                          limit.tcp.cpu_s
//   tls     the same through TLS 1.3, over the link of net.transfer_1g.tls (links.h)
//                                                                       -> limit.tls.gbps, limit.tls.cpu_s
//
// Usage: tcp MODE [--rounds N]
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <barrier>
#include <thread>
#include <vector>

#include "bench/links.h"
#include "bench/measure.h"

namespace {

constexpr std::size_t kMessage = 64, kChunk = 1 << 20;
constexpr in_addr_t kFar = 0x0a4e0002;  // 10.78.0.2
constexpr std::int64_t kBytes = std::int64_t{1} << 30;

void Need(bool ok, const char* what) {
  if (!ok) bench::Die(std::string(what) + " failed");
}

// Two connected sockets; the second belongs to the child. With `links`: of two machines.
void Connect(int* here, int* there, const bench::Links* links = nullptr) {
  if (links) Need(links->Enter("far"), "a network namespace");
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(links ? kFar : INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  Need(bind(listener, reinterpret_cast<sockaddr*>(&address), size) == 0 && listen(listener, 1) == 0 &&
           getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) == 0,
       "listen");
  if (links) Need(links->Enter("near"), "a network namespace");
  *here = socket(AF_INET, SOCK_STREAM, 0);
  Need(connect(*here, reinterpret_cast<sockaddr*>(&address), size) == 0, "connect");
  *there = accept(listener, nullptr, nullptr);
  close(listener);
  const int on = 1;
  for (const int fd : {*here, *there}) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

void ReadAll(int fd, char* to, std::size_t size) {
  while (size > 0) {
    const ssize_t got = recv(fd, to, size, 0);
    if (got <= 0) _exit(0);
    to += got;
    size -= static_cast<std::size_t>(got);
  }
}
void WriteAll(int fd, const char* from, std::size_t size) {
  while (size > 0) {
    const ssize_t sent = send(fd, from, size, MSG_NOSIGNAL);
    if (sent <= 0) _exit(0);
    from += sent;
    size -= static_cast<std::size_t>(sent);
  }
}

void Ping(std::int64_t rounds, bench::Report& report) {
  int here = -1, there = -1;
  Connect(&here, &there);
  char message[kMessage] = {};
  if (fork() == 0) {
    close(here);
    for (;;) {
      ReadAll(there, message, kMessage);
      WriteAll(there, message, kMessage);
    }
  }
  close(there);
  bench::Samples samples;
  for (std::int64_t i = 0; i < rounds; ++i) {
    const auto begin = bench::NowNs();
    WriteAll(here, message, kMessage);
    ReadAll(here, message, kMessage);
    samples.Add(static_cast<double>(bench::NowNs() - begin) / 1e3);
  }
  close(here);
  report.Add("limit.tcp.us", samples);
}

SSL* Tls(int fd, bool connects, EVP_PKEY* key, X509* certificate) {
  SSL_CTX* context = SSL_CTX_new(TLS_method());
  SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
  if (!connects) {
    SSL_CTX_use_certificate(context, certificate);
    SSL_CTX_use_PrivateKey(context, key);
  }
  SSL* ssl = SSL_new(context);
  SSL_set_fd(ssl, fd);
  Need((connects ? SSL_connect(ssl) : SSL_accept(ssl)) == 1, "the handshake");
  return ssl;
}

// Over as many streams as a transfer has, each with a thread at both ends. As often as a transfer is measured, and the first round is
// dropped as there: what lasts for seconds is slower here than what lasts for a moment.
void StreamBytes(bool tls, int streams, bench::Report& report) {
  constexpr int kRounds = 4;
  std::vector<int> here(static_cast<std::size_t>(streams)), there(here.size());
  const std::string name = tls ? "limit.tls.gbps" : "limit.tcp.gbps";
  bench::Links links;
  if (tls && !(links.MakeHub() && links.MakeMachine("near") && links.MakeMachine("far")))
    return report.Missing(name, "network namespaces cannot be made here");
  for (std::size_t i = 0; i < here.size(); ++i) Connect(&here[i], &there[i], tls ? &links : nullptr);
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* certificate = X509_new();
  X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
  X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
  X509_set_pubkey(certificate, key);
  X509_sign(certificate, key, EVP_sha256());
  const std::int64_t each = kBytes / streams;
  const auto on_each = [](const std::vector<int>& sockets, const auto& work) {
    std::vector<std::thread> threads;
    for (const int socket : sockets) threads.emplace_back([&work, socket] { work(socket); });
    for (std::thread& thread : threads) thread.join();
  };
  if (fork() == 0) {
    for (const int socket : here) close(socket);
    on_each(there, [&](int socket) {
      std::vector<char> buffer(kChunk, 'x');
      SSL* ssl = tls ? Tls(socket, false, key, certificate) : nullptr;
      for (std::int64_t left = each * kRounds; left > 0; left -= static_cast<std::int64_t>(kChunk)) {
        if (ssl) {
          if (SSL_write(ssl, buffer.data(), kChunk) != static_cast<int>(kChunk)) _exit(1);
        } else {
          WriteAll(socket, buffer.data(), kChunk);
        }
      }
      ReadAll(socket, buffer.data(), 1);
    });
    _exit(0);
  }
  for (const int socket : there) close(socket);
  std::vector<std::int64_t> ends;
  std::barrier round(streams, [&]() noexcept { ends.push_back(bench::NowNs()); });
  on_each(here, [&](int socket) {
    std::vector<char> buffer(kChunk);
    SSL* ssl = tls ? Tls(socket, true, key, certificate) : nullptr;
    for (int i = 0; i < kRounds; ++i) {
      for (std::int64_t left = each; left > 0;) {
        const int most = static_cast<int>(std::min<std::int64_t>(left, kChunk));
        const auto got = ssl ? SSL_read(ssl, buffer.data(), most)
                             : static_cast<int>(recv(socket, buffer.data(), static_cast<std::size_t>(most), 0));
        Need(got > 0, "read");
        left -= got;
      }
      round.arrive_and_wait();
    }
  });
  for (const int socket : here) close(socket);
  while (wait(nullptr) > 0) {
  }
  rusage own{}, child{};
  getrusage(RUSAGE_SELF, &own);
  getrusage(RUSAGE_CHILDREN, &child);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  const double cpu = seconds(own.ru_utime) + seconds(own.ru_stime) + seconds(child.ru_utime) + seconds(child.ru_stime);
  report.Add(std::string(tls ? "limit.tls" : "limit.tcp") + ".cpu_s", cpu / kRounds);
  bench::Samples speed;
  for (std::size_t i = 1; i < ends.size(); ++i)
    speed.Add(static_cast<double>(kBytes) / static_cast<double>(ends[i] - ends[i - 1]));
  report.Add(name, speed, 0.01);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  bench::Report report;
  if (mode == "ping") {
    Ping(bench::Flag(argc, argv, "rounds", std::int64_t{20'000}), report);
  } else if (mode == "stream" || mode == "tls") {
    StreamBytes(mode == "tls", static_cast<int>(bench::Flag(argc, argv, "streams", std::int64_t{2})), report);
  } else {
    bench::Die("usage: tcp ping|stream|tls [--rounds N] [--streams N]");
  }
  while (wait(nullptr) > 0) {
  }
  report.Print();
}
