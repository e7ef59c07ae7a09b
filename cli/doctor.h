// `sheaf doctor`: tries what pools need of this machine, and says what to do where something is missing.
#pragma once

namespace sheaf::cli {

int RunDoctor();

}  // namespace sheaf::cli
