#include "worker/relay/tls.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <mutex>

namespace sheaf::relay {
namespace {

constexpr int kSilenceMillis = kSilenceMaxNanos / 1'000'000;
constexpr std::size_t kChunk = 64 * 1024, kReadAhead = 128 * 1024;

// One connection object serves the reading and the writing thread, one at a time: the socket never blocks inside of it,
// and who has to wait does so outside of the lock.
class Tls final : public Transport {
 public:
  Tls(Fd socket, SSL_CTX* context) : socket_(std::move(socket)), context_(context), ssl_(SSL_new(context)) {
    fcntl(socket_.get(), F_SETFL, fcntl(socket_.get(), F_GETFL) | O_NONBLOCK);
    const int on = 1;
    setsockopt(socket_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const unsigned unacknowledged = kSilenceMillis;
    setsockopt(socket_.get(), IPPROTO_TCP, TCP_USER_TIMEOUT, &unacknowledged, sizeof unacknowledged);
    SSL_set_fd(ssl_, socket_.get());
    SSL_set_mode(ssl_, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  }
  ~Tls() override {
    SSL_free(ssl_);
    SSL_CTX_free(context_);
  }

  bool Handshake(bool connects) {
    for (;;) {
      ERR_clear_error();
      const int done = connects ? SSL_connect(ssl_) : SSL_accept(ssl_);
      if (done == 1) return true;
      if (!Wait(SSL_get_error(ssl_, done))) return false;
    }
  }
  SSL* ssl() { return ssl_; }

  std::size_t Read(std::byte* to, std::size_t most, bool) override {
    for (;;) {
      int error = 0;
      {
        std::lock_guard lock(mutex_);
        ERR_clear_error();
        std::size_t got = 0;
        if (SSL_read_ex(ssl_, to, most, &got) == 1) return got;
        error = SSL_get_error(ssl_, 0);
      }
      if (!Wait(error)) return 0;
    }
  }

  bool Write(iovec* pieces, int count) override {
    for (int i = 0; i < count; ++i) {
      const auto* at = static_cast<const std::byte*>(pieces[i].iov_base);
      for (std::size_t left = pieces[i].iov_len; left > 0;) {
        int error = 0;
        std::size_t sent = 0;
        {
          std::lock_guard lock(mutex_);
          ERR_clear_error();
          if (SSL_write_ex(ssl_, at, std::min(left, kChunk), &sent) != 1) error = SSL_get_error(ssl_, 0);
        }
        at += sent;
        left -= sent;
        if (sent == 0 && !Wait(error)) return false;
      }
    }
    return true;
  }

  bool Readable() override {
    {
      std::lock_guard lock(mutex_);
      if (SSL_has_pending(ssl_)) return true;
    }
    pollfd waits{socket_.get(), POLLIN, 0};
    return poll(&waits, 1, 0) != 0;
  }

  bool Authenticates() const override { return true; }
  bool Await() override { return AwaitInput(socket_.get()); }
  void Abort() override { shutdown(socket_.get(), SHUT_RDWR); }

 private:
  // False: it is over, or nothing has moved for too long.
  bool Wait(int error) {
    pollfd waits{socket_.get(), 0, 0};
    if (error == SSL_ERROR_WANT_READ) {
      waits.events = POLLIN;
    } else if (error == SSL_ERROR_WANT_WRITE) {
      waits.events = POLLOUT;
    } else {
      return false;
    }
    for (;;) {
      const int ready = poll(&waits, 1, kSilenceMillis);
      if (ready < 0 && errno == EINTR) continue;
      return ready == 1;
    }
  }

  Fd socket_;
  SSL_CTX* context_;
  SSL* ssl_;
  std::mutex mutex_;
};

BIO* Reading(const std::string& text) { return BIO_new_mem_buf(text.data(), static_cast<int>(text.size())); }

SSL_CTX* MakeContext(const scheduler::Credentials& own) {
  SSL_CTX* context = SSL_CTX_new(TLS_method());
  if (!context) return nullptr;
  SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(context, 0);
  // Many records in one read: a call to the kernel for each costs more than what is inside of it.
  SSL_CTX_set_read_ahead(context, 1);
  SSL_CTX_set_default_read_buffer_len(context, kReadAhead);
  BIO* bio = Reading(own.authority);
  X509* authority = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
  BIO_free(bio);
  bio = Reading(own.certificate);
  X509* certificate = PEM_read_bio_X509(bio, nullptr, nullptr, nullptr);
  BIO_free(bio);
  bio = Reading(own.key);
  EVP_PKEY* key = PEM_read_bio_PrivateKey(bio, nullptr, nullptr, nullptr);
  BIO_free(bio);
  const bool ok = authority && certificate && key &&
                  X509_STORE_add_cert(SSL_CTX_get_cert_store(context), authority) == 1 &&
                  SSL_CTX_use_certificate(context, certificate) == 1 && SSL_CTX_use_PrivateKey(context, key) == 1;
  X509_free(authority);
  X509_free(certificate);
  EVP_PKEY_free(key);
  if (ok) return context;
  SSL_CTX_free(context);
  return nullptr;
}

std::string PemOf(X509* certificate) {
  BIO* out = BIO_new(BIO_s_mem());
  PEM_write_bio_X509(out, certificate);
  char* data = nullptr;
  const long size = BIO_get_mem_data(out, &data);
  std::string text(data, static_cast<std::size_t>(size));
  BIO_free(out);
  return text;
}

}  // namespace

std::unique_ptr<Transport> TlsTransport(Fd socket, bool connects, const scheduler::Credentials& own, std::string* peer,
                                        std::string* why) {
  SSL_CTX* context = MakeContext(own);
  const auto self = scheduler::IdentityIn(own.certificate);
  if (!context || !self) {
    *why = "this pool's own certificate cannot be used: join again with a new token";
    SSL_CTX_free(context);
    return nullptr;
  }
  auto transport = std::make_unique<Tls>(std::move(socket), context);
  if (!transport->Handshake(connects)) {
    *why = "the other side showed no valid certificate of this cluster, or none at all";
    return nullptr;
  }
  X509* certificate = SSL_get1_peer_certificate(transport->ssl());
  const auto who = certificate ? scheduler::IdentityIn(PemOf(certificate)) : std::nullopt;
  X509_free(certificate);
  if (!who || who->role != "pool" || who->cluster != self->cluster) {
    *why = "the other side's certificate is not a pool's";
    return nullptr;
  }
  *peer = who->id;
  return transport;
}

}  // namespace sheaf::relay
