// `sheaf completion bash`: a script made from the tree of commands, so that it cannot lag behind.
#pragma once

namespace CLI {
class App;
}

namespace sheaf::cli {

int PrintCompletion(const CLI::App& app);

}  // namespace sheaf::cli
