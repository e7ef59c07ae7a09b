// `sheaf-relay internal-relay near|far ...`: started by a pool's supervisor only.
#include "worker/relay/relay_main.h"

int main(int argc, char** argv) { return sheaf::relay::RunRelay(argc - 2, argv + 2); }
