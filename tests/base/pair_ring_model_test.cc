// Every interleaving, every delayed store and every death, over the code that runs between
// processes.
#include <gtest/gtest.h>

#include "tests/base/reader_scenarios.h"
#include "tests/base/ring_scenarios.h"

namespace sheaf::model {
namespace {

constexpr std::uint32_t kBeforeWrap = 0xffffffffu;  // the first tag is 0, the next position is 0

TEST(Layout, HasRoomForItsWords) { EXPECT_EQ(Layout().count, kLayoutWords); }

template <class Scenario>
void ExpectSound(const Scenario& scenario, std::size_t states_at_least) {
  const Found found = Explorer<Scenario>(scenario).Explore();
  EXPECT_FALSE(found.bad) << found.what;
  EXPECT_GE(found.states, states_at_least);  // fewer: something is no longer tried
  std::printf("%zu states\n", found.states);
}
template <class Scenario>
void ExpectFound(const Scenario& scenario, const char* what) {
  const Found found = Explorer<Scenario>(scenario).Explore();
  EXPECT_TRUE(found.bad) << "nothing found in " << found.states << " states";
  EXPECT_NE(found.what.find(what), std::string::npos) << found.what;
  std::printf("%zu states, then: %s\n", found.states, found.what.c_str());
}

TEST(PairRing, LosesNoTaskAndRunsNoneTwiceWhenRecallMeetsClaim) {
  RecallScenario<ModelMemory> scenario;
  scenario.recalls_max = 2;
  ExpectSound(scenario, 90000);
}
TEST(PairRing, KeepsItsWordAcrossTheWrapOfTags) {
  RecallScenario<ModelMemory> scenario;
  scenario.start = kBeforeWrap;
  scenario.recalls_max = 2;
  ExpectSound(scenario, 90000);
}
TEST(PairRing, LetsTheSubmitterDecideWhereverTheWorkerDies) {
  RecallScenario<ModelMemory> scenario;
  scenario.worker_dies = true;
  scenario.recalls_max = 2;
  scenario.start = kBeforeWrap;
  ExpectSound(scenario, 160000);
}
TEST(PairRing, LetsTheWorkerGoOnWhereverTheSubmitterDies) {
  RecallScenario<ModelMemory> scenario;
  scenario.submitter_dies = true;
  ExpectSound(scenario, 16000);
}
TEST(PairRing, WakesEverySleeper) { ExpectSound(SleepScenario<ModelMemory>{}, 22000); }

TEST(PairRing, ShowsAForeignReaderWholeResultsOnly) { ExpectSound(ReaderScenario<ModelMemory>{}, 1500); }
TEST(PairRing, ShowsAForeignReaderWholeResultsAcrossTheWrap) {
  ReaderScenario<ModelMemory> scenario;
  scenario.start = kBeforeWrap;
  ExpectSound(scenario, 1500);
}
TEST(PairRing, CallsAnOrphanLostOnlyIfItsValueNeverCame) {
  ReaderScenario<ModelMemory> scenario;
  scenario.submitter_dies = true;
  ExpectSound(scenario, 5000);
}
TEST(PairRing, DeliversEveryEndedPromiseOnceInOrder) {
  PromiseScenario<ModelMemory> scenario;
  scenario.start = 0xfffffffeu;
  ExpectSound(scenario, 67);
}

TEST(ModelChecker, FindsTheTornResultWithoutTheSecondLook) {
  ExpectFound(ReaderScenario<ModelMemory, Mistake::kNoRecheck>{}, "torn");
}
TEST(ModelChecker, FindsTheTornResultWithoutTheInvalidTag) {
  ExpectFound(ReaderScenario<ModelMemory, Mistake::kNoInvalidation>{}, "torn");
}
TEST(ModelChecker, FindsTheValueCalledLostWhenTheEndIsReadTooLate) {
  ReaderScenario<ModelMemory, Mistake::kEndedReadLate> scenario;
  scenario.submitter_dies = true;
  ExpectFound(scenario, "called lost");
}
TEST(ModelChecker, FindsTheTaskRunTwiceWithoutBarriers) { ExpectFound(RecallScenario<NoBarriers>{}, "taken back"); }
TEST(ModelChecker, FindsTheTaskRunTwiceWithoutTheBackOff) {
  ExpectFound(RecallScenario<ModelMemory, Mistake::kNoBackOff>{}, "taken back");
}
TEST(ModelChecker, FindsTheJudgementByAnOldRecall) {
  RecallScenario<ModelMemory, Mistake::kOldRecallBelieved> scenario;
  scenario.worker_dies = true;
  ExpectFound(scenario, "counts as not begun");
}
TEST(ModelChecker, FindsTheSleeperThatNobodyWakesWithoutBarriers) {
  ExpectFound(SleepScenario<NoBarriers>{}, "no good end");
}

}  // namespace
}  // namespace sheaf::model
