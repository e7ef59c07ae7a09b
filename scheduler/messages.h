// Between the scheduler's plain values and the Protobuf messages of proto/. The only place that knows both.
#pragma once

#include "proto/scheduler.pb.h"
#include "proto/view.pb.h"
#include "scheduler/cluster_view.h"
#include "scheduler/scheduler_core.h"

namespace sheaf::scheduler {

v1::PoolLoad ToMessage(const PoolLoad& load);
PoolLoad FromMessage(const v1::PoolLoad& message);
v1::PoolOffer ToMessage(const PoolOffer& offer);
PoolOffer FromMessage(const v1::PoolOffer& message);
Resources AmountsOf(const google::protobuf::Map<std::string, std::uint64_t>& message);
v1::LeaseWant ToMessage(const LeaseWant& want);
LeaseWant FromMessage(const v1::LeaseWant& message);
v1::Grant ToMessage(const GrantInfo& grant);  // without its ticket
GrantInfo FromMessage(const v1::Grant& message);
v1::PoolIdentity ToMessage(const PoolIdentity& pool);
PoolIdentity FromMessage(const v1::PoolIdentity& message);
v1::ClusterView ToMessage(const ClusterView& view);
ClusterView FromMessage(const v1::ClusterView& message);
v1::Verdict ToMessage(Verdict verdict);
Verdict FromMessage(v1::Verdict verdict);  // one that this version does not know: kUnavailable

}  // namespace sheaf::scheduler
