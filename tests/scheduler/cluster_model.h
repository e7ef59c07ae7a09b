// What the simulated cluster is told and says: planted bugs, and what came of a run.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

namespace sheaf::cluster {

enum class Bug {
  kNone,
  kLostAnswerKeepsSlots,   // placement: a grant whose answer was lost is never taken back
  kLenderDeathKeepsGrant,  // placement: grants of a dead lender stay valid
  kOldEpochIsFree,         // placement: what an earlier life granted is lent again
  kOwnSlotsForgotten,      // placement: lends what the lender's own jobs use
  kNoFairness,             // placement: whoever came first keeps everything
  kLendsToItself,          // placement
  kTicketIsGoodTwice,      // a lender admits the same ticket again
  kOldEpochAdmitted,       // a lender admits a ticket of an earlier scheduler
  kOldLifeAdmitted,        // a lender admits a ticket of its own earlier life
  kForgetsOnRelayDeath,    // what a dead relay had is not run again
  kTakesFromTheDead,       // a result of a relay that was given up counts all the same
  kKeepsIdleGrants,        // a job that wants nothing gives nothing back
  kIgnoresRevocation,      // a grant that is no longer listed is used on
  kSequenceStartsOver,     // a pool that registers again counts its heartbeats anew: they are taken for late ones
  kAdmitsWhenFenced,       // a pool that is cut off begins something new for others
  kNeverFences,            // a pool that is cut off goes on with what it runs for others
  kCreditNeedsNoRoom,      // placement: what was begun by a credit counts even where others have the slots by now
  kCreditForEver,          // a credit is used long after the last word from the scheduler
  kKeepsUnconfirmed,       // what was begun by a credit goes on although the scheduler says no
};

struct Outcome {
  std::uint64_t digest = 0xcbf29ce484222325;
  std::vector<std::string> faults;
  std::set<std::string> accidents;  // kinds that did happen
  std::uint64_t grants = 0, tasks = 0, reruns = 0;
};

}  // namespace sheaf::cluster
