// The smallest program: a plain function, run by a worker process.
//
//   ./build/release/examples/hello_task
//
// Init() starts a pool of its own on this machine; with SHEAF_ADDRESS set the same program joins a running one.
#include <sheaf/sheaf.h>
#include <unistd.h>

#include <iostream>
#include <string>

// A task is a function. Its arguments and its result travel by themselves.
std::string Greet(const std::string& name) { return "hello " + name + ", from process " + std::to_string(getpid()); }

std::size_t Length(std::string_view text) { return text.size(); }

int main(int argc, char** argv) {
  sheaf::Init(argc, argv);

  sheaf::ObjectRef<std::string> greeting = sheaf::Remote<Greet>("world");  // returns at once
  sheaf::ObjectRef<std::size_t> length = sheaf::Remote<Length>(greeting);  // a worker waits for it, we do not

  std::cout << "this is process " << getpid() << "\n" << greeting.Get() << "\n" << length.Get() << " characters\n";
}
