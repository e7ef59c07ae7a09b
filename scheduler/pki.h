// The cluster's own certificates: one authority per cluster, made when its scheduler starts first.
//
// ECDSA P-256 throughout. Who somebody is stands in the certificate as spiffe://CLUSTER/ROLE/ID (a URI in the subject's
// alternative names); whom a client reaches is checked by a DNS name of the cluster, not by the address it dialled, which
// may be anything. Keys lie in files of mode 0600 in a directory of mode 0700 and travel nowhere: others send requests.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sheaf::scheduler {

struct Identity {
  std::string cluster;
  std::string role;  // "scheduler", "pool" or "admin"
  std::string id;
  friend bool operator==(const Identity&, const Identity&) = default;
};

// PEM everywhere. Functions that make something throw std::runtime_error if the library fails.
std::string NewKey();
std::string NewRequest(std::string_view key);  // to be signed: says nothing but the public key
struct Authority {
  std::string key, certificate;
};
Authority NewAuthority(const std::string& cluster);
// nullopt: `request` is none, or not signed by its own key.
std::optional<std::string> Sign(const Authority& authority, std::string_view request, const Identity& who,
                                std::int64_t seconds);
// Of a certificate that the library has verified already.
std::optional<Identity> IdentityIn(std::string_view certificate);
std::string ClusterOf(std::string_view authority);  // whose authority that is; empty: nobody's
std::optional<Identity> ParseIdentity(std::string_view uri);
std::string UriOf(const Identity& who);
// The name that clients expect from whoever has a role in the cluster.
std::string ServerName(const std::string& cluster);
std::string Fingerprint(std::string_view certificate);   // SHA-256 of its DER form in hex; empty: it is none
std::int64_t SecondsLeft(std::string_view certificate);  // until it ends; negative: it has
bool IsSignedBy(std::string_view certificate, std::string_view authority);

// A key, its certificate and the authority's certificate, in the files key.pem, cert.pem and ca.pem.
struct Credentials {
  std::string key, certificate, authority;
  bool ok() const { return !key.empty() && !certificate.empty() && !authority.empty(); }
};
// Missing or unreadable files leave their part empty.
Credentials ReadCredentials(const std::string& directory);
// Each file is complete under its name, or as it was. Empty, or why not.
std::string WriteCredentials(const std::string& directory, const Credentials& credentials);
std::string WriteFile(const std::string& path, std::string_view content);
std::string ReadFile(const std::string& path);
bool MakePrivateDirectory(const std::string& path, std::string* why);

}  // namespace sheaf::scheduler
