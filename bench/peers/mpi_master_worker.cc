// The OpenMPI master-worker program: rank 0 sends 64-byte tasks (32 of them arguments), rank 1 answers
// each with 64 bytes (8 of them the result), a window of tasks in flight -> mpi.rate_1x1, in tasks/s.
//
// Usage: mpirun -n 2 mpi_master_worker [--tasks N] [--window W]
#define OMPI_SKIP_MPICXX 1  // the C interface only
#include <mpi.h>

#include "bench/measure.h"

namespace {

struct Message {
  std::int64_t words[8] = {};
};

void Master(std::int64_t tasks, std::int64_t window) {
  std::vector<Message> out(static_cast<std::size_t>(window));
  std::vector<MPI_Request> sends(static_cast<std::size_t>(window), MPI_REQUEST_NULL);
  std::int64_t sent = 0, sum = 0;
  const auto begin = bench::NowNs();
  for (std::int64_t received = 0; received < tasks; ++received) {
    for (; sent < tasks && sent - received < window; ++sent) {
      const auto slot = static_cast<std::size_t>(sent % window);
      MPI_Wait(&sends[slot], MPI_STATUS_IGNORE);
      out[slot].words[0] = sent;
      MPI_Isend(&out[slot], sizeof(Message), MPI_CHAR, 1, 0, MPI_COMM_WORLD, &sends[slot]);
    }
    Message in;
    MPI_Recv(&in, sizeof in, MPI_CHAR, 1, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    sum += in.words[0];
  }
  const double seconds = static_cast<double>(bench::NowNs() - begin) / 1e9;
  MPI_Waitall(static_cast<int>(window), sends.data(), MPI_STATUSES_IGNORE);
  if (sum != tasks * (tasks + 1) / 2) bench::Die("a result is wrong");
  bench::Report report;
  report.Add("mpi.rate_1x1", static_cast<double>(tasks) / seconds);
  report.Print();
}

void Worker(std::int64_t tasks) {
  for (std::int64_t i = 0; i < tasks; ++i) {
    Message message;
    MPI_Recv(&message, sizeof message, MPI_CHAR, 0, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    ++message.words[0];
    MPI_Send(&message, sizeof message, MPI_CHAR, 0, 0, MPI_COMM_WORLD);
  }
}

}  // namespace

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  const auto tasks = bench::Flag(argc, argv, "tasks", std::int64_t{400'000});
  if (rank == 0) {
    Master(tasks, bench::Flag(argc, argv, "window", std::int64_t{1024}));
  } else {
    Worker(tasks);
  }
  MPI_Finalize();
}
