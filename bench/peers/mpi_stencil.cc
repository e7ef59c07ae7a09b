// METG(50 %) of the OpenMPI program for stencil_1d: each rank owns a block of columns; a step is one
// receive and one send for every edge between ranks, one wait for all, then the rank's points.
// -> mpi.metg_stencil_w<width>.us and the granularity of an empty kernel, mpi.empty_w<width>.us.
//
// Usage: mpirun -n 2 mpi_stencil --width W
#define OMPI_SKIP_MPICXX 1  // the C interface only
#include <mpi.h>

#include "bench/metg.h"

namespace {

class Graph {
 public:
  Graph(int width, int rank, int ranks) : stencil_{width}, rank_(rank), ranks_(ranks) {}

  double Run(std::int64_t iterations, std::int64_t steps) {
    const int begin = stencil_.width * rank_ / ranks_;
    const int end = stencil_.width * (rank_ + 1) / ranks_;
    std::vector<bench::Point> last(static_cast<std::size_t>(stencil_.width)), next = last;
    MPI_Barrier(MPI_COMM_WORLD);
    const auto start = bench::NowNs();
    for (std::int32_t step = 0; step < steps; ++step) {
      if (step > 0) Exchange(last, begin, end);
      for (int column = begin; column < end; ++column) {
        if (step > 0) Check(last, column, step);
        bench::Keep(bench::ComputeKernel(iterations));
        next[static_cast<std::size_t>(column)] = {step, column};
      }
      std::swap(last, next);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    return static_cast<double>(bench::NowNs() - start) / 1e9;
  }

 private:
  void Exchange(std::vector<bench::Point>& last, int begin, int end) const {
    MPI_Request requests[4];
    int count = 0;
    const auto edge = [&](int theirs, int ours, int peer) {
      MPI_Irecv(&last[static_cast<std::size_t>(theirs)], sizeof(bench::Point), MPI_CHAR, peer, 0, MPI_COMM_WORLD,
                &requests[count++]);
      MPI_Isend(&last[static_cast<std::size_t>(ours)], sizeof(bench::Point), MPI_CHAR, peer, 0, MPI_COMM_WORLD,
                &requests[count++]);
    };
    if (begin > 0) edge(begin - 1, begin, rank_ - 1);
    if (end < stencil_.width) edge(end, end - 1, rank_ + 1);
    MPI_Waitall(count, requests, MPI_STATUSES_IGNORE);
  }
  void Check(const std::vector<bench::Point>& last, int column, std::int32_t step) const {
    for (int from = stencil_.First(column); from <= stencil_.Last(column); ++from) {
      const auto& point = last[static_cast<std::size_t>(from)];
      if (point.step != step - 1 || point.column != from) bench::Die("an input is wrong");
    }
  }

  bench::Stencil stencil_;
  int rank_, ranks_;
};

}  // namespace

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int rank = 0, ranks = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  const int width = static_cast<int>(bench::Flag(argc, argv, "width", std::int64_t{2}));
  Graph graph(width, rank, ranks);
  double ns_per_iteration = bench::NsPerIteration();
  MPI_Bcast(&ns_per_iteration, 1, MPI_DOUBLE, 0, MPI_COMM_WORLD);
  const auto run = [&](std::int64_t iterations, std::int64_t steps) {
    double seconds = graph.Run(iterations, steps);
    MPI_Bcast(&seconds, 1, MPI_DOUBLE, 0, MPI_COMM_WORLD);  // all ranks take the same decisions
    return seconds;
  };
  const auto metg = bench::FindMetg(width, ranks, ns_per_iteration, run);
  if (rank == 0) {
    bench::Report report;
    const std::string suffix = "_w" + std::to_string(width) + ".us";
    if (metg.us > 0) {
      report.Add("mpi.metg_stencil" + suffix, metg.us);
    } else {
      report.Missing("mpi.metg_stencil" + suffix, metg.reason);
    }
    report.Add("mpi.empty" + suffix, metg.empty_us);
    report.Print();
  }
  MPI_Finalize();
}
