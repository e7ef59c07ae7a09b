// `sheaf internal-relay near|far`: how a pool's supervisor starts the halves of a relay.
#pragma once

namespace sheaf::relay {

// What a pool tells the near half in its environment (never in its arguments: the ticket is a secret): address, ticket,
// cpus_milli, the four words of the job's build id in hex, the directory of the pool's credentials (empty: the stream stays on
// this machine, in the clear) and the other pool's id, a line each. The far half gets the directory alone.
inline constexpr char kRelayEnvironment[] = "SHEAF_RELAY";
inline constexpr int kExitCannotTravel = 75;                      // of a near half: the job lacks what it should bring
inline constexpr char kSpawnEnvironment[] = "SHEAF_RELAY_SPAWN";  // not a worker's: nobody takes this process over
inline constexpr int kRelayFd = 4;  // near: the job's executable; far: the accepted connection; transfers: the listener

// `argv`: what follows "internal-relay". Near: "near", then the job's own arguments. Does not return before the end.
int RunRelay(int argc, char** argv);

}  // namespace sheaf::relay
