// The OpenMPI round trip of a 64-byte message between two ranks -> mpi.sync.us.
//
// Usage: mpirun -n 2 mpi_pingpong [--rounds N]
#define OMPI_SKIP_MPICXX 1  // the C interface only
#include <mpi.h>

#include "bench/measure.h"

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  const std::int64_t rounds = bench::Flag(argc, argv, "rounds", std::int64_t{1000}), burst = 64;
  char message[64] = {};
  bench::Samples samples;
  for (std::int64_t i = -50; i < rounds; ++i) {
    const auto begin = bench::NowNs();
    for (std::int64_t k = 0; k < burst; ++k) {
      if (rank == 0) {
        MPI_Send(message, 64, MPI_CHAR, 1, 0, MPI_COMM_WORLD);
        MPI_Recv(message, 64, MPI_CHAR, 1, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
      } else {
        MPI_Recv(message, 64, MPI_CHAR, 0, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        MPI_Send(message, 64, MPI_CHAR, 0, 0, MPI_COMM_WORLD);
      }
    }
    if (i >= 0) samples.Add(static_cast<double>(bench::NowNs() - begin) / 1e3 / burst);
  }
  if (rank == 0) {
    bench::Report report;
    report.Add("mpi.sync.us", samples);
    report.Print();
  }
  MPI_Finalize();
}
