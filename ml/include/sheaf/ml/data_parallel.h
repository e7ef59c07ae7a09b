// DataParallel: synchronous data-parallel training in which the driver is not inside the step.
//
// Every rank has a shard of the data and one task a step. Its inputs are the last states of all ranks; it applies the
// mean of their gradients to its own copy of the weights, then computes its next gradient:
//
//   state(t, rank 0) --+--> Step(rank 0) --> state(t+1, rank 0)
//                       X
//   state(t, rank 1) --+--> Step(rank 1) --> state(t+1, rank 1)
//
// So there is one meeting a step and nothing that one worker does while others wait for it. The update is computed by
// every rank alike, on the same numbers in the same order: all have the same bits without being sent any. (Each rank
// could update a part for all, as ZeRO does, at the price of a second meeting in every step.)
// Tasks are chained by refs; the driver submits up to `window` steps ahead and sleeps. A run has the same bits whatever
// the timing, and whichever worker had to be replaced on the way.
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
template <class M>
concept Trainable = requires(const M& model, std::span<const float> weights, std::span<const float> x,
                             std::span<const std::uint8_t> y, std::span<float> flat) {
  { model.parameters() } -> std::convertible_to<std::size_t>;
  { model.inputs() } -> std::convertible_to<std::size_t>;
  { model.Specs() } -> std::convertible_to<std::vector<TensorSpec>>;
  model.Init(std::uint64_t{}, flat);
  { model.Gradient(weights, x, y, flat) } -> std::convertible_to<double>;  // the mean loss of the batch
};

struct TrainOptions {
  std::size_t batch = 64;  // rows of each rank in a step
  Sgd sgd = {};
  Schedule schedule = {};   // of sgd.rate, over the trainer's steps
  std::uint64_t seed = 1;   // initial weights, and the order of the batches in each epoch
  std::size_t window = 16;  // steps submitted ahead of the oldest unfinished one
};

// What a rank hands on after a step: the weights that it used, and the gradient at them.
struct TrainState {
  Array<float> weights, velocity, gradient;
  double loss = 0;      // of this rank's batch in this step
  double loss_sum = 0;  // of the mean losses of all steps before
};

}  // namespace sheaf::ml

namespace sheaf::ml::detail {

// How a step's states are changed: `sgd` belongs to the step before, whose gradients are applied now.
struct StepOrder {
  std::uint64_t rank = 0;  // states are given beginning with this rank's own, then 0, 1, ... without it
  std::uint64_t row = 0, rows = 0;
  Sgd sgd;
};
// Weights, velocity and loss_sum of the next state; the gradient is left empty. Before the first step there is no
// gradient to apply, and the weights are handed on as they are.
TrainState ApplyGradients(const std::vector<TrainState>& states, std::uint64_t rank, const Sgd& sgd);

template <Trainable M>
TrainState StepTask(const M& model, const Shard& shard, const std::vector<TrainState>& states, const StepOrder& order) {
  TrainState next = ApplyGradients(states, order.rank, order.sgd);
  ArrayBuilder<float> gradient(model.parameters());
  next.loss =
      model.Gradient(next.weights, shard.x.span().subspan(order.row * model.inputs(), order.rows * model.inputs()),
                     shard.y.span().subspan(order.row, order.rows), gradient.span());
  next.gradient = std::move(gradient).Seal();
  return next;
}
Weights FinishTask(const std::vector<TrainState>& states, const Sgd& sgd, const std::vector<TensorSpec>& specs);
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
    TrainState initial;
    ArrayBuilder<float> weights(model_.parameters());
    model_.Init(options_.seed, weights.span());
    initial.weights = std::move(weights).Seal();
    if (options_.sgd.momentum != 0) initial.velocity = ArrayBuilder<float>(model_.parameters(), 0.0f).Seal();
    states_.assign(shards_.size(), Put(initial));
  }

  std::int64_t step() const { return step_; }                        // steps submitted so far
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
      if (static_cast<std::int64_t>(unfinished_.size()) >= window)
        Drain(static_cast<std::size_t>(window / 2), progress);
    }
    Drain(0, progress);
    loss_ = LossSum();
    return (loss_ - before) / static_cast<double>(std::max<std::int64_t>(steps, 1));
  }
  double RunEpoch(const std::function<void(std::int64_t done)>& progress = {}) {
    return Run(steps_per_epoch_, progress);
  }

  // The weights after all steps submitted so far, as one object.
  ObjectRef<Weights> weights() const { return Remote<&detail::FinishTask>(states_, last_sgd_, model_.Specs()); }

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
    std::vector<ObjectRef<TrainState>> next;
    for (std::size_t rank = 0; rank < shards_.size(); ++rank) {
      // Its own state first: the runtime prefers the worker that made it.
      std::vector<ObjectRef<TrainState>> states = {states_[rank]};
      for (std::size_t other = 0; other < shards_.size(); ++other) {
        if (other != rank) states.push_back(states_[other]);
      }
      next.push_back(Remote<&detail::StepTask<M>>(model_ref_, shards_[rank], states,
                                                  detail::StepOrder{rank, row, options_.batch, last_sgd_}));
    }
    states_ = std::move(next);
    unfinished_.push_back(states_[0]);
    last_sgd_ = sgd;
    ++step_;
  }

  // Of all steps so far: what the states carry, and the mean of the last step's.
  double LossSum() const {
    double last = 0, before = 0;
    for (const auto& ref : states_) {
      const TrainState state = ref.Get();
      last += state.loss;
      before = state.loss_sum;
    }
    return before + last / static_cast<double>(states_.size());
  }

  // Waits until at most `left` submitted steps are unfinished. One rank's state stands for a step: the others are at
  // most that one task behind, and one ref can be slept on without waking for what comes before it.
  void Drain(std::size_t left, const std::function<void(std::int64_t)>& progress) {
    if (unfinished_.size() > left) {
      unfinished_[unfinished_.size() - left - 1].Get();
      unfinished_.erase(unfinished_.begin(), unfinished_.end() - static_cast<std::ptrdiff_t>(left));
    }
    if (progress) progress(step_ - static_cast<std::int64_t>(unfinished_.size()));
  }

  M model_;
  ObjectRef<M> model_ref_;
  std::vector<ObjectRef<Shard>> shards_;
  TrainOptions options_;
  std::vector<ObjectRef<TrainState>> states_;     // the newest, not necessarily ready
  std::deque<ObjectRef<TrainState>> unfinished_;  // of rank 0, oldest first
  Sgd last_sgd_ = {};                             // of the newest step
  std::vector<std::uint64_t> order_;              // of this epoch's batches
  std::int64_t step_ = 0, steps_per_epoch_ = 0;
  double loss_ = 0;
};

}  // namespace sheaf::ml
