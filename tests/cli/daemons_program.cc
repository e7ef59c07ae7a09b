// A user's program for daemons_test: the same executable, embedded or with SHEAF_ADDRESS.

#include <sheaf/sheaf.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

int Square(int x) { return x * x; }
int WorkerParent() { return static_cast<int>(getppid()); }

// Runs until somebody writes to the pipe.
int Hold(const std::string& pipe) { return std::ifstream(pipe).get(); }

int main(int argc, char** argv) {
  sheaf::Init(argc, argv);
  std::vector<sheaf::ObjectRef<int>> squares;
  for (int i = 1; i <= 100; ++i) squares.push_back(sheaf::Remote<Square>(i));
  int sum = 0;
  for (auto& square : squares) sum += square.Get();
  std::printf("sum %d\n", sum);
  std::printf("supervisor %d\n", sheaf::Remote<WorkerParent>().Get());
  std::fflush(stdout);
  if (argc > 2 && std::string(argv[1]) == "--hold") {
    std::printf("held %c\n", sheaf::Remote<Hold>(std::string(argv[2])).Get());
    std::fflush(stdout);
  }
  // With an argument: stays attached until its standard input is closed, so that others can look at it.
  if (argc > 1 && std::string(argv[1]) == "--stay") {
    while (std::getchar() != EOF) {
    }
  }
  sheaf::Shutdown();
}
