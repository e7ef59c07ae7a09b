#include "scheduler/pki.h"

#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <stdexcept>

#include "base/hex.h"

namespace sheaf::scheduler {
namespace {

template <auto Free>
struct Deleter {
  template <class T>
  void operator()(T* what) const {
    Free(what);
  }
};
using Key = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY_free>>;
using Cert = std::unique_ptr<X509, Deleter<X509_free>>;
using Request = std::unique_ptr<X509_REQ, Deleter<X509_REQ_free>>;
using Bio = std::unique_ptr<BIO, Deleter<BIO_free_all>>;

void Require(bool ok, const char* what) {
  if (!ok) throw std::runtime_error(std::string("the cryptographic library cannot ") + what);
}

Bio Reading(std::string_view text) { return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))); }
template <class Write>
std::string Written(Write write) {
  const Bio out(BIO_new(BIO_s_mem()));
  Require(out && write(out.get()) == 1, "write a key or certificate");
  char* data = nullptr;
  const long size = BIO_get_mem_data(out.get(), &data);
  return {data, static_cast<std::size_t>(size)};
}

// No prompt for a password: what is encrypted is unreadable.
int NoPassword(char*, int, int, void*) { return 0; }
Key ReadKey(std::string_view pem) {
  return Key(PEM_read_bio_PrivateKey(Reading(pem).get(), nullptr, NoPassword, nullptr));
}
Cert ReadCert(std::string_view pem) {
  return Cert(PEM_read_bio_X509(Reading(pem).get(), nullptr, NoPassword, nullptr));
}

void AddExtension(X509* cert, X509* issuer, int kind, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, cert, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str());
  const bool added = extension && X509_add_ext(cert, extension, -1) == 1;
  X509_EXTENSION_free(extension);
  Require(added, "add to a certificate");
}

void SetName(X509* cert, X509_NAME* issuer, const std::string& common) {
  X509_NAME* name = X509_get_subject_name(cert);
  Require(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(common.c_str()),
                                     -1, -1, 0) == 1,
          "name a certificate");
  X509_set_issuer_name(cert, issuer ? issuer : name);
}

Cert Blank(std::int64_t seconds) {
  constexpr long kClocksDiffer = 300;
  Cert cert(X509_new());
  unsigned char serial[16];
  Require(cert && RAND_bytes(serial, sizeof serial) == 1, "make a certificate");
  serial[0] &= 0x7f;
  BIGNUM* number = BN_bin2bn(serial, sizeof serial, nullptr);
  BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert.get()));
  BN_free(number);
  X509_set_version(cert.get(), 2);
  X509_gmtime_adj(X509_getm_notBefore(cert.get()), -kClocksDiffer);
  X509_gmtime_adj(X509_getm_notAfter(cert.get()), seconds);
  return cert;
}

}  // namespace

std::string NewKey() {
  const Key key(EVP_EC_gen("P-256"));
  Require(key != nullptr, "make a key");
  return Written(
      [&](BIO* out) { return PEM_write_bio_PrivateKey(out, key.get(), nullptr, nullptr, 0, nullptr, nullptr); });
}

std::string NewRequest(std::string_view pem) {
  const Key key = ReadKey(pem);
  const Request request(X509_REQ_new());
  Require(key && request && X509_REQ_set_pubkey(request.get(), key.get()) == 1 &&
              X509_REQ_sign(request.get(), key.get(), EVP_sha256()) > 0,
          "make a certificate request");
  return Written([&](BIO* out) { return PEM_write_bio_X509_REQ(out, request.get()); });
}

Authority NewAuthority(const std::string& cluster) {
  constexpr std::int64_t kTenYears = std::int64_t{10} * 365 * 86'400;
  Authority authority;
  authority.key = NewKey();
  const Key key = ReadKey(authority.key);
  const Cert cert = Blank(kTenYears);
  SetName(cert.get(), nullptr, "sheaf cluster " + cluster);
  Require(X509_set_pubkey(cert.get(), key.get()) == 1, "use a key");
  AddExtension(cert.get(), cert.get(), NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
  AddExtension(cert.get(), cert.get(), NID_key_usage, "critical,keyCertSign,cRLSign");
  AddExtension(cert.get(), cert.get(), NID_subject_key_identifier, "hash");
  Require(X509_sign(cert.get(), key.get(), EVP_sha256()) > 0, "sign a certificate");
  authority.certificate = Written([&](BIO* out) { return PEM_write_bio_X509(out, cert.get()); });
  return authority;
}

std::optional<std::string> Sign(const Authority& authority, std::string_view pem, const Identity& who,
                                std::int64_t seconds) {
  const Request request(PEM_read_bio_X509_REQ(Reading(pem).get(), nullptr, NoPassword, nullptr));
  EVP_PKEY* asked = request ? X509_REQ_get0_pubkey(request.get()) : nullptr;
  if (!asked || X509_REQ_verify(request.get(), asked) != 1) return std::nullopt;
  const Key key = ReadKey(authority.key);
  const Cert issuer = ReadCert(authority.certificate);
  Require(key && issuer, "read the cluster's authority");
  const Cert cert = Blank(seconds);
  SetName(cert.get(), X509_get_subject_name(issuer.get()), who.role + " " + who.id);
  Require(X509_set_pubkey(cert.get(), asked) == 1, "use a key");
  AddExtension(cert.get(), issuer.get(), NID_basic_constraints, "critical,CA:FALSE");
  AddExtension(cert.get(), issuer.get(), NID_key_usage, "critical,digitalSignature");
  // Pools are servers to each other.
  AddExtension(cert.get(), issuer.get(), NID_ext_key_usage,
               who.role == "admin" ? "clientAuth" : "serverAuth,clientAuth");
  std::string names = "URI:" + UriOf(who);
  if (who.role != "admin")
    names += std::string(",DNS:") + (who.role == "pool" ? "pool." : "") + ServerName(who.cluster);
  AddExtension(cert.get(), issuer.get(), NID_subject_alt_name, names);
  Require(X509_sign(cert.get(), key.get(), EVP_sha256()) > 0, "sign a certificate");
  return Written([&](BIO* out) { return PEM_write_bio_X509(out, cert.get()); });
}

std::string UriOf(const Identity& who) { return "spiffe://" + who.cluster + "/" + who.role + "/" + who.id; }
std::string ServerName(const std::string& cluster) { return cluster + ".sheaf"; }

std::optional<Identity> ParseIdentity(std::string_view uri) {
  constexpr std::string_view kScheme = "spiffe://";
  if (!uri.starts_with(kScheme)) return std::nullopt;
  uri.remove_prefix(kScheme.size());
  const std::size_t first = uri.find('/');
  const std::size_t second = first == std::string_view::npos ? first : uri.find('/', first + 1);
  if (second == std::string_view::npos || second + 1 == uri.size()) return std::nullopt;
  return Identity{std::string(uri.substr(0, first)), std::string(uri.substr(first + 1, second - first - 1)),
                  std::string(uri.substr(second + 1))};
}

std::optional<Identity> IdentityIn(std::string_view pem) {
  const Cert cert = ReadCert(pem);
  if (!cert) return std::nullopt;
  auto* names = static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(cert.get(), NID_subject_alt_name, nullptr, nullptr));
  std::optional<Identity> found;
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names, i);
    if (name->type != GEN_URI) continue;
    const ASN1_IA5STRING* text = name->d.uniformResourceIdentifier;
    found = ParseIdentity({reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                           static_cast<std::size_t>(ASN1_STRING_length(text))});
  }
  GENERAL_NAMES_free(names);
  return found;
}

std::string ClusterOf(std::string_view authority) {
  constexpr std::string_view kPrefix = "sheaf cluster ";
  const Cert cert = ReadCert(authority);
  char common[256] = {};
  if (!cert || X509_NAME_get_text_by_NID(X509_get_subject_name(cert.get()), NID_commonName, common, sizeof common) < 0)
    return {};
  const std::string_view name(common);
  return name.starts_with(kPrefix) ? std::string(name.substr(kPrefix.size())) : std::string();
}

std::string Fingerprint(std::string_view pem) {
  const Cert cert = ReadCert(pem);
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  if (!cert || X509_digest(cert.get(), EVP_sha256(), digest, &size) != 1) return {};
  return HexOf(digest, size);
}

std::int64_t SecondsLeft(std::string_view pem) {
  const Cert cert = ReadCert(pem);
  int days = 0, seconds = 0;
  if (!cert || ASN1_TIME_diff(&days, &seconds, nullptr, X509_get0_notAfter(cert.get())) != 1) return -1;
  return std::int64_t{days} * 86'400 + seconds;
}

bool IsSignedBy(std::string_view pem, std::string_view authority) {
  const Cert cert = ReadCert(pem), issuer = ReadCert(authority);
  return cert && issuer && X509_verify(cert.get(), X509_get0_pubkey(issuer.get())) == 1;
}

// ---- files ------------------------------------------------------------------------------------------------------

std::string ReadFile(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  std::string text;
  char bytes[4096];
  constexpr std::size_t kMost = 1 << 20;
  while (file >= 0 && text.size() < kMost) {
    const ssize_t got = read(file, bytes, sizeof bytes);
    if (got <= 0) break;
    text.append(bytes, static_cast<std::size_t>(got));
  }
  if (file >= 0) close(file);
  return text;
}

std::string WriteFile(const std::string& path, std::string_view content) {
  const std::string draft = path + ".new";
  unlink(draft.c_str());
  const int file = open(draft.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  const bool written = file >= 0 &&
                       write(file, content.data(), content.size()) == static_cast<ssize_t>(content.size()) &&
                       fsync(file) == 0 && rename(draft.c_str(), path.c_str()) == 0;
  const std::string why = written ? std::string() : "cannot write " + path + ": " + std::strerror(errno);
  if (file >= 0) close(file);
  return why;
}

bool MakePrivateDirectory(const std::string& path, std::string* why) {
  for (std::size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
    const std::string part = path.substr(0, slash);
    const bool last = slash == std::string::npos;
    if (mkdir(part.c_str(), last ? 0700 : 0755) != 0 && errno != EEXIST) {
      *why = "cannot make " + part + ": " + std::strerror(errno);
      return false;
    }
    if (last) break;
  }
  struct stat info{};
  if (stat(path.c_str(), &info) != 0 || info.st_uid != geteuid() || (info.st_mode & 0077) != 0) {
    *why = path + " must belong to this user and be closed to all others: chmod 700 " + path;
    return false;
  }
  return true;
}

Credentials ReadCredentials(const std::string& directory) {
  return {ReadFile(directory + "/key.pem"), ReadFile(directory + "/cert.pem"), ReadFile(directory + "/ca.pem")};
}

std::string WriteCredentials(const std::string& directory, const Credentials& credentials) {
  std::string why;
  if (!MakePrivateDirectory(directory, &why)) return why;
  why = WriteFile(directory + "/ca.pem", credentials.authority);
  if (why.empty()) why = WriteFile(directory + "/key.pem", credentials.key);
  if (why.empty()) why = WriteFile(directory + "/cert.pem", credentials.certificate);
  return why;
}

}  // namespace sheaf::scheduler
