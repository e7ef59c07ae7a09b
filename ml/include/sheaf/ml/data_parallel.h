// DataParallel: synchronous data-parallel training in which the driver is not inside the step.
//
// Every rank has a shard of the data. A step is one gradient task a rank, then one update task a rank; each update
// task averages and applies its own piece of the parameters only (the idea of ZeRO stage 1, Rajbhandari et al. 2020),
// and the next step's gradient tasks read the pieces side by side, in place:
//
//   pieces(t) --> Gradient(rank 0) --+--> Update(piece 0) --> pieces(t+1)
//            \--> Gradient(rank 1) --+--> Update(piece 1) --/
//
// The tasks are chained by refs, so the driver submits many steps ahead (at most `window`) and sleeps; workers wait
// for each other on shared memory. Sums run by rank: a run has the same bits whatever the timing, and whichever
// worker had to be replaced on the way.
// Not thread-safe: one thread drives a trainer.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "sheaf/array.h"
#include "sheaf/completions.h"
#include "sheaf/ml/mlp.h"
#include "sheaf/ml/sgd.h"
#include "sheaf/ml/weights.h"
#include "sheaf/remote.h"

namespace sheaf::ml {

// Rows with one class each: x is row-major, y.size() rows.
struct Shard {
  Array<float> x;
  Array<std::uint8_t> y;
};

// What DataParallel trains; Mlp is one. A model is a plain value that can be sent; its parameters are one flat array.
// Cuts(n) says where that array may be cut (see Mlp), and Gradient must accept such pieces.
template <class M>
concept Trainable = requires(const M& model, Pieces weights, std::span<const float> x,
                             std::span<const std::uint8_t> y, std::span<float> flat) {
  { model.parameters() } -> std::convertible_to<std::size_t>;
  { model.inputs() } -> std::convertible_to<std::size_t>;
  { model.Specs() } -> std::convertible_to<std::vector<TensorSpec>>;
  { model.Cuts(std::size_t{}) } -> std::convertible_to<std::vector<std::size_t>>;
  model.Init(std::uint64_t{}, flat);
  { model.Gradient(weights, x, y, flat) } -> std::convertible_to<double>;
};

struct TrainOptions {
  std::size_t batch = 64;     // rows of each rank in a step
  Sgd sgd = {};
  Schedule schedule = {};     // of sgd.rate, over the trainer's steps
  std::uint64_t seed = 1;     // initial weights, and the order of the batches in each epoch
  std::size_t window = 16;    // steps submitted ahead of the oldest unfinished one
};

// One rank's part of the parameters at some step. `loss` sums the mean losses of all steps so far.
struct TrainPiece {
  Array<float> weights, velocity;
  double loss = 0;
};
struct TrainGradient {
  Array<float> values;
  double loss = 0;
};

}  // namespace sheaf::ml

namespace sheaf::ml::detail {

template <Trainable M>
TrainGradient GradientTask(const M& model, const Shard& shard, const std::vector<TrainPiece>& pieces,
                           std::uint64_t row, std::uint64_t rows) {
  std::vector<std::span<const float>> weights;
  for (const TrainPiece& piece : pieces) weights.push_back(piece.weights);
  ArrayBuilder<float> gradient(model.parameters());
  const double loss = model.Gradient(weights, shard.x.span().subspan(row * model.inputs(), rows * model.inputs()),
                                     shard.y.span().subspan(row, rows), gradient.span());
  return {std::move(gradient).Seal(), loss};
}

// Where a piece lies in the flat array.
struct Extent {
  std::uint64_t begin = 0, end = 0;
};
TrainPiece UpdateTask(const TrainPiece& piece, const std::vector<TrainGradient>& gradients, const Sgd& sgd,
                      const Extent& extent);
Weights JoinTask(const std::vector<TrainPiece>& pieces, const std::vector<TensorSpec>& specs);
// A permutation of 0..n-1, the same on every machine.
std::vector<std::uint64_t> Shuffled(std::uint64_t n, std::uint64_t seed);
void CheckTraining(std::size_t shards, std::size_t batch, std::size_t rows);

}  // namespace sheaf::ml::detail

namespace sheaf::ml {

template <Trainable M>
class DataParallel {
 public:
  // One rank a shard. Reads the shards' sizes once; their bytes stay where they are. Throws Error when there is no
  // shard or a batch does not fit into the smallest.
  DataParallel(M model, std::vector<ObjectRef<Shard>> shards, TrainOptions options)
      : model_(std::move(model)), shards_(std::move(shards)), options_(options) {
    std::size_t rows = SIZE_MAX;
    for (const auto& shard : shards_) rows = std::min(rows, shard.Get().y.size());
    detail::CheckTraining(shards_.size(), options_.batch, rows);
    steps_per_epoch_ = static_cast<std::int64_t>(rows / options_.batch);
    model_ref_ = Put(model_);
    std::vector<float> initial(model_.parameters());
    model_.Init(options_.seed, initial);
    const auto cuts = model_.Cuts(shards_.size());
    for (std::size_t rank = 0; rank < shards_.size(); ++rank) {
      const detail::Extent extent{cuts[rank], cuts[rank + 1]};
      TrainPiece piece;
      piece.weights = Array<float>::Copy(std::span<const float>(initial).subspan(extent.begin, extent.end - extent.begin));
      if (options_.sgd.momentum != 0) {
        piece.velocity = ArrayBuilder<float>(extent.end - extent.begin, 0.0f).Seal();
      }
      extents_.push_back(extent);
      pieces_.push_back(Put(piece));
    }
  }

  std::int64_t step() const { return step_; }  // steps submitted so far
  std::int64_t steps_per_epoch() const { return steps_per_epoch_; }  // rows beyond the last whole batch are left out
  std::size_t samples_per_step() const { return options_.batch * shards_.size(); }

  // Runs `steps` more and returns their mean loss. `progress`, if given, is called now and then on this thread with
  // the number of steps that have finished since the trainer was made.
  double Run(std::int64_t steps, const std::function<void(std::int64_t done)>& progress = {}) {
    const double before = loss_;
    const std::int64_t window = static_cast<std::int64_t>(std::max<std::size_t>(options_.window, 2));
    for (std::int64_t i = 0; i < steps; ++i) {
      Submit();
      // Full: wait until half of it has finished, so that the driver sleeps long and submits many at a time.
      if (static_cast<std::int64_t>(unfinished_.size()) >= window) Drain(static_cast<std::size_t>(window / 2), progress);
    }
    Drain(0, progress);
    loss_ = pieces_[0].Get().loss;
    return (loss_ - before) / static_cast<double>(std::max<std::int64_t>(steps, 1));
  }
  double RunEpoch(const std::function<void(std::int64_t done)>& progress = {}) {
    return Run(steps_per_epoch_, progress);
  }

  // The weights after all steps submitted so far, as one object.
  ObjectRef<Weights> weights() const { return Remote<&detail::JoinTask>(pieces_, model_.Specs()); }

 private:
  void Submit() {
    const std::int64_t in_epoch = step_ % steps_per_epoch_;
    if (in_epoch == 0) {
      const auto epoch = static_cast<std::uint64_t>(step_ / steps_per_epoch_);
      order_ = detail::Shuffled(static_cast<std::uint64_t>(steps_per_epoch_), options_.seed + (epoch << 32));
    }
    const std::uint64_t row = order_[static_cast<std::size_t>(in_epoch)] * options_.batch;
    Sgd sgd = options_.sgd;
    sgd.rate *= options_.schedule.Factor(step_);
    std::vector<ObjectRef<TrainGradient>> gradients;
    for (const auto& shard : shards_) {
      gradients.push_back(Remote<&detail::GradientTask<M>>(model_ref_, shard, pieces_, row, options_.batch));
    }
    std::vector<ObjectRef<TrainPiece>> next;
    for (std::size_t rank = 0; rank < shards_.size(); ++rank) {
      next.push_back(Remote<&detail::UpdateTask>(pieces_[rank], gradients, sgd, extents_[rank]));
    }
    pieces_ = std::move(next);
    unfinished_.push_back(pieces_);
    ++step_;
  }

  // Waits until at most `left` submitted steps are unfinished.
  void Drain(std::size_t left, const std::function<void(std::int64_t)>& progress) {
    if (unfinished_.size() > left) {
      // Steps finish in order: the newest of those to be taken suffices.
      Wait(unfinished_[unfinished_.size() - left - 1], shards_.size());
      while (unfinished_.size() > left) unfinished_.pop_front();
    }
    if (progress) progress(step_ - static_cast<std::int64_t>(unfinished_.size()));
  }

  M model_;
  ObjectRef<M> model_ref_;
  std::vector<ObjectRef<Shard>> shards_;
  TrainOptions options_;
  std::vector<detail::Extent> extents_;
  std::vector<ObjectRef<TrainPiece>> pieces_;  // the newest, not necessarily ready
  std::deque<std::vector<ObjectRef<TrainPiece>>> unfinished_;
  std::vector<std::uint64_t> order_;  // of this epoch's batches
  std::int64_t step_ = 0, steps_per_epoch_ = 0;
  double loss_ = 0;
};

}  // namespace sheaf::ml
