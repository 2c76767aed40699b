// The store: what goes in comes out, two writers at once, and the errors that must not stop a run.
#include "store/run_store.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "store/run_summary.h"

namespace attune::run_store_test {

std::string StorePath() {
  const std::string folder =
      testing::TempDir() + "/run_store-" + testing::UnitTest::GetInstance()->current_test_info()->name();
  std::filesystem::remove_all(folder);
  return folder + "/deep/runs.sqlite";
}

RunData ARun(const std::string& id, const std::string& started) {
  RunData run;
  run.record = {{"id", id},
                {"started", started},
                {"status", "running"},
                {"method", "lora"},
                {"model", {{"name_or_path", "it's \"quoted\"; DROP TABLE runs"}}}};
  return run;
}

std::string ErrorOf(const std::string& path) {
  try {
    RunStore store(path);
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    return error.what();
  }
  return "";
}

TEST(RunStore, KeepsRunsMetricsAndSamples) {
  const std::string path = StorePath();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  {
    RunStore store(path);
    store.Replace("/out/a", ARun("aaaa", "2026-01-01T00:00:00Z"));
    store.Replace("/out/b", ARun("bbbb", "2026-01-02T00:00:00Z"));
    store.AddMetrics("aaaa", {0, {{"eval_loss", 4.0}}});
    store.AddMetrics("aaaa", {10, {{"loss", 3.5}, {"num_tokens", 9007199254740992.0}}});
    store.AddMetrics("aaaa", {10, {{"eval_loss", 3.0}, {"robert'); --", 1.0}}});
    store.AddSamples("aaaa", {{10, "p'", "", std::string("zero\0byte", 9)}});
  }
  RunStore store(path);  // another process, later
  store.AddMetrics("aaaa", {20, {{"loss", nan}, {"eval_loss", 3.25}}});
  const auto rows = store.List();
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].record["id"], "bbbb") << "the newest first";
  EXPECT_FALSE(Summarize({rows[0].record, rows[0].metrics, {}}).loss);
  EXPECT_EQ(rows[1].output_dir, "/out/a");

  const RunData run = store.Load("aaaa").value();
  EXPECT_EQ(run.record["model"]["name_or_path"], "it's \"quoted\"; DROP TABLE runs");
  ASSERT_EQ(run.metrics.size(), 4u);
  EXPECT_EQ(*run.metrics[1].Find("num_tokens"), 9007199254740992.0);
  EXPECT_EQ(*run.metrics[2].Find("robert'); --"), 1.0);
  EXPECT_TRUE(std::isnan(*run.metrics[3].Find("loss")));
  EXPECT_EQ(run.metrics[3].step, 20);
  ASSERT_EQ(run.samples.size(), 1u);
  EXPECT_EQ(run.samples[0].answer, std::string("zero\0byte", 9));
  EXPECT_FALSE(store.Load("none"));
}

TEST(RunStore, AListedRunHasTheSummaryOfTheWholeOne) {
  RunStore store(StorePath());
  RunData run = ARun("aaaa", "2026-01-01T00:00:00Z");
  run.metrics = {{0, {{"eval_loss", 4.0}, {"time", 1767225601.0}}}};
  for (int64_t step = 1; step <= 9; ++step) {
    const auto x = static_cast<double>(step);
    run.metrics.push_back({step, {{"loss", 5 - x / 9}, {"num_tokens", 100 * x}, {"tokens_per_second", x}}});
    if (step % 2 == 0) run.metrics.push_back({step, {{"eval_loss", 3 + std::abs(x - 4)}, {"time", 1767225601.0 + x}}});
  }
  store.Replace("/out/a", run);
  store.Replace("/out/b", ARun("bbbb", "2025-01-01T00:00:00Z"));
  for (const RunRow& row : store.List()) {
    const RunData whole = store.Load(row.record["id"].get<std::string>()).value();
    EXPECT_EQ(ToJson(Summarize({row.record, row.metrics, {}})), ToJson(Summarize(whole)));
  }
  const RunSummary summary = Summarize({store.List()[0].record, store.List()[0].metrics, {}});
  EXPECT_EQ(summary.best_eval_step, 4);
  EXPECT_EQ(summary.eval_loss, 7);
  EXPECT_EQ(summary.tokens, 900);
}

TEST(RunStore, AResumedRunReplacesWhatItWas) {
  RunStore store(StorePath());
  RunData run = ARun("aaaa", "2026-01-01T00:00:00Z");
  run.metrics = {{1, {{"loss", 3}}}, {2, {{"loss", 2}}}};
  run.samples = {{1, "p", "r", "a"}};
  store.Replace("/out/a", run);
  run.metrics.pop_back();
  run.record["status"] = "finished";
  store.Replace("/out/moved", run);
  store.AddMetrics("aaaa", {2, {{"loss", 1}}});
  const RunData kept = store.Load("aaaa").value();
  ASSERT_EQ(kept.metrics.size(), 2u);
  EXPECT_EQ(*kept.metrics[1].Find("loss"), 1);
  EXPECT_EQ(kept.samples.size(), 1u);
  EXPECT_EQ(kept.record["status"], "finished");
  EXPECT_EQ(store.List().at(0).output_dir, "/out/moved");
}

TEST(RunStore, ARemovedRunLeavesNothing) {
  RunStore store(StorePath());
  RunData run = ARun("aaaa", "2026-01-01T00:00:00Z");
  run.metrics = {{1, {{"loss", 3}}}};
  store.Replace("/out/a", run);
  store.Replace("/out/b", ARun("bbbb", "2026-01-02T00:00:00Z"));
  store.Remove("aaaa");
  EXPECT_FALSE(store.Load("aaaa"));
  EXPECT_EQ(store.List().size(), 1u);
  run.metrics.clear();
  store.Replace("/out/a", run);
  EXPECT_TRUE(store.Load("aaaa").value().metrics.empty());
}

TEST(RunStore, TwoWritersAtOnceLoseNothing) {
  const std::string path = StorePath();
  const auto write = [&](const std::string& id) {
    RunStore store(path);  // the first one makes the tables, the other finds them
    store.Replace("/out/" + id, ARun(id, "2026-01-01T00:00:00Z"));
    for (int64_t step = 0; step < 200; ++step) store.AddMetrics(id, {step, {{"loss", 1.0}}});
  };
  std::thread one(write, "one"), two(write, "two");
  one.join();
  two.join();
  RunStore store(path);
  EXPECT_EQ(store.Load("one")->metrics.size(), 200u);
  EXPECT_EQ(store.Load("two")->metrics.size(), 200u);
}

TEST(RunStore, SaysWhatIsWrongWithItsFile) {
  const std::string path = StorePath();
  EXPECT_EQ(ErrorOf(path), "");
  {
    Database database(path, false);
    database.Execute("PRAGMA user_version = 99");
  }
  EXPECT_NE(ErrorOf(path).find("newer version of attune (schema 99"), std::string::npos);
  WriteFileAtomic(path + ".txt", std::string(4096, 'x'));
  EXPECT_NE(ErrorOf(path + ".txt").find("not a database"), std::string::npos);
  EXPECT_NE(ErrorOf("/proc/attune/runs.sqlite").find("/proc/attune"), std::string::npos);
  EXPECT_NE(ErrorOf(std::filesystem::path(path).parent_path()).find("cannot be opened"), std::string::npos);
}

TEST(RunStore, LivesWhereTheEnvironmentSays) {
  const auto with = [](const char* runs, const char* xdg, const char* home) {
    const auto set = [](const char* name, const char* value) { value ? ::setenv(name, value, 1) : ::unsetenv(name); };
    set("ATTUNE_RUNS", runs);
    set("XDG_DATA_HOME", xdg);
    set("HOME", home);
    return RunStore::DefaultPath();
  };
  const std::string home = std::getenv("HOME") != nullptr ? std::getenv("HOME") : "";
  EXPECT_EQ(with("/r.sqlite", "/xdg", "/home/u"), "/r.sqlite");
  EXPECT_EQ(with(nullptr, "/xdg", "/home/u"), "/xdg/attune/runs.sqlite");
  EXPECT_EQ(with("", "relative", "/home/u"), "/home/u/.local/share/attune/runs.sqlite");
  EXPECT_THROW(with(nullptr, nullptr, nullptr), Error);
  if (!home.empty()) ::setenv("HOME", home.c_str(), 1);
}

TEST(Status, TellsARunningProcessFromOneThatIsGone) {
  nlohmann::ordered_json record = {{"status", "running"}, {"process", ThisProcess()}};
  EXPECT_EQ(StatusOf(record), "running");
  record["process"]["start_ticks"] = 1;  // the number was given to another process since
  EXPECT_EQ(StatusOf(record), "interrupted");
  record["process"]["host"] = "elsewhere";
  EXPECT_EQ(StatusOf(record), "running") << "nothing is known of another machine's processes";
  EXPECT_EQ(StatusOf({{"finished", "2026-01-01T00:00:00Z"}}), "finished");
  EXPECT_EQ(StatusOf({{"finished", nullptr}}), "interrupted");
}

TEST(Summary, TellsTheFiguresOfARun) {
  RunData run = ARun("aaaa", "2026-01-01T00:00:00Z");
  run.record["finished"] = "2026-01-01T01:00:07Z";
  run.metrics = {{0, {{"eval_loss", 4}}},
                 {5, {{"loss", 3}, {"peak_rss_bytes", 100}}},
                 {5, {{"eval_loss", 2}}},
                 {9, {{"eval_loss", 3}}}};
  const RunSummary s = Summarize(run);
  EXPECT_EQ(s.steps, 9);
  EXPECT_EQ(s.first_eval_loss, 4.0);
  EXPECT_EQ(s.best_eval_loss, 2.0);
  EXPECT_EQ(s.best_eval_step, 5);
  EXPECT_EQ(s.eval_loss, 3.0);
  EXPECT_EQ(s.seconds, 3607.0);
  EXPECT_EQ(s.peak_rss_bytes, 100.0);
  run.record["process"] = {{"pid", 1e300}};
  run.record["planned_bytes"] = 1e300;
  ToJson(Summarize(run));  // numbers that fit nowhere
}

}  // namespace attune::run_store_test
