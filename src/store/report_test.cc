// Charts and reports: what hostile text comes out as, what the axes say, and that peaks survive.
#include "store/report.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "store/chart.h"
#include "store/svg.h"
#include "store/terminal_plot.h"

namespace attune::report_test {

size_t Count(const std::string& text, const std::string& piece) {
  size_t count = 0;
  for (size_t at = text.find(piece); at != std::string::npos; at = text.find(piece, at + piece.size())) ++count;
  return count;
}

RunData SomeRun() {
  RunData run;
  run.record = {{"id", "3fa94c01"}, {"status", "finished"}, {"method", "lora"}, {"output_dir", "/home/u/results"}};
  for (int64_t step = 1; step <= 50; ++step) {
    const auto x = static_cast<double>(step);
    run.metrics.push_back({step,
                           {{"loss", 3 + 2 / x},
                            {"learning_rate", 1e-4 * x},
                            {"grad_norm", 1 / x},
                            {"tokens_per_second", 800 + x},
                            {"peak_rss_bytes", 1.5 * (1 << 30)},
                            {"rewards/margins", x}}});
    if (step % 10 == 0) run.metrics.push_back({step, {{"eval_loss", 3.5 + 2 / x}, {"eval_token_accuracy", x / 100}}});
  }
  return run;
}

TEST(Escaped, LeavesNoMarkupAndNoBytesThatXmlForbids) {
  EXPECT_EQ(Escaped("<a href=\"x\" id='y'>&"), "&lt;a href=&quot;x&quot; id=&#39;y&#39;&gt;&amp;");
  EXPECT_EQ(Escaped("ä€😀\t\n"), "ä€😀\t\n");
  const std::string bad = "\xEF\xBF\xBD";
  EXPECT_EQ(Escaped(std::string("a\0b", 3)), "a" + bad + "b");
  EXPECT_EQ(Escaped("\x1B[31m"), bad + "[31m");
  EXPECT_EQ(Escaped("\xC3"), bad);                      // cut off
  EXPECT_EQ(Escaped("\xC0\xBC"), bad + bad);            // "<" in too many bytes
  EXPECT_EQ(Escaped("\xED\xA0\x80"), bad + bad + bad);  // half of a surrogate pair
  EXPECT_EQ(Escaped("\xEF\xBF\xBF"), bad);              // U+FFFF
  EXPECT_EQ(Escaped("a\u202Eb\u009B"), "a" + bad + "b" + bad);
  EXPECT_EQ(Escaped("\xF4\x90\x80\x80"), bad + bad + bad + bad);
}

TEST(Report, HostileTextStaysText) {
  const std::string attack = "</td></style><script>alert(1)</script><img src=x onerror=alert(2)>\"'&";
  RunData run = SomeRun();
  run.record = {{"id", attack},
                {"status", "finished\" onclick=\"" + attack},
                {"method", attack},
                {"output_dir", "/x/" + attack},
                {"started", attack},
                {"attune_version", attack},
                {"reason", attack},
                {"model", {{"name_or_path", attack}, {attack, attack}, {"total_bytes", attack}}},
                {"settings", {{attack, {{attack, attack}}}, {"list", {attack, 1}}}},
                {"environment", attack}};
  run.samples = {{1, attack, attack, attack}, {2, attack, attack, attack}};
  run.metrics.push_back({60, {{attack, 1.0}}});
  run.metrics.push_back({61, {{attack, 2.0}}});
  const std::string html = ReportHtml(run);
  for (const char* piece : {"<script", "<img", "onclick=\"", "alert(1)</"}) EXPECT_EQ(Count(html, piece), 0u) << piece;
  EXPECT_EQ(Count(html, "</style>"), 1u);
  EXPECT_GT(Count(html, "&lt;script&gt;alert(1)&lt;/script&gt;"), 10u);
}

TEST(Report, IsOnePageThatFetchesNothing) {
  RunData run = SomeRun();
  run.samples = {{10, "a prompt", "a reference", "an early answer"}, {20, "a prompt", "a reference", "a late answer"}};
  const std::string html = ReportHtml(run);
  for (const char* outside : {"src=", "href=", "url(", "@import", "<link"})
    EXPECT_EQ(Count(html, outside), 0u) << outside;
  EXPECT_EQ(Count(html, "http"), Count(html, "http://www.w3.org/2000/svg") + Count(html, "http-equiv"));
  for (const char* title : {"Loss", "Learning rate", "Gradient norm", "Tokens per second", "Peak memory (GiB)",
                            "rewards/margins", "eval_token_accuracy"}) {
    EXPECT_NE(html.find(std::string("y=\"19\">") + title + "</text>"), std::string::npos) << title;
  }
  EXPECT_EQ(Count(html, "a prompt"), 1u) << "answers to one prompt stand side by side";
  EXPECT_LT(html.find("an early answer"), html.find("a late answer"));
}

TEST(Report, ARunWithoutMetricsHasAPage) {
  RunData run;
  run.record = nlohmann::ordered_json::object();
  EXPECT_NE(ReportHtml(run).find("nothing was logged"), std::string::npos);
  EXPECT_NE(ChartSvgFile(LossChart(run), 400, 200).find("</svg>"), std::string::npos);
  EXPECT_EQ(PlotInTerminal(LossChart(run), 80, 10, false), "no loss was logged\n");
}

TEST(Chart, AxesHaveRoundTicks) {
  const auto labels = [](double low, double high) {
    const Axis axis = NiceAxis(low, high, 5);
    std::string text;
    for (int i = 0; i < axis.ticks(); ++i) text += (i > 0 ? " " : "") + TickLabel(axis.tick(i), axis.step);
    return text;
  };
  EXPECT_EQ(labels(0.13, 0.97), "0 0.2 0.4 0.6 0.8 1.0");
  EXPECT_EQ(labels(3.61, 3.93), "3.6 3.7 3.8 3.9 4.0");
  EXPECT_EQ(labels(0, 2e-4), "0 5e-5 1e-4 1.5e-4 2e-4");
  EXPECT_EQ(labels(100, 1400), "0 500 1k 1.5k");
  EXPECT_EQ(labels(-3, 4), "-4 -2 0 2 4");
  EXPECT_EQ(labels(5, 5), "4.4 4.6 4.8 5.0 5.2 5.4 5.6");
}

TEST(Chart, ExtremeNumbersDrawSomething) {
  const double most = std::numeric_limits<double>::max(), least = std::numeric_limits<double>::denorm_min();
  for (const auto& [a, b] :
       {std::pair{-most, most}, {0.0, least}, {most, most}, {1.0, 1.0 + 1e-16}, {0.0, 0.0}, {-least, 1e308}}) {
    RunData run;
    run.metrics = {{0, {{"loss", a}}}, {int64_t{1} << 53, {{"loss", b}}}};
    const std::string svg = ChartSvg(LossChart(run), 400, 200);
    EXPECT_EQ(Count(svg, "nan"), 0u) << svg;
    EXPECT_LT(Count(svg, "<line"), 40u);
    EXPECT_FALSE(PlotInTerminal(LossChart(run), 80, 10, false).empty());
  }
}

TEST(Chart, ThinningKeepsThePeaks) {
  std::vector<Point> points;
  for (int i = 0; i < 100000; ++i)
    points.push_back({static_cast<double>(i), i == 77777 ? 50.0 : i == 33333 ? -50.0 : std::sin(i)});
  const auto thin = Thinned(points, 800);
  EXPECT_LE(thin.size(), 800u);
  const auto has = [&](double y) {
    return std::any_of(thin.begin(), thin.end(), [&](const Point& p) { return p.y == y; });
  };
  EXPECT_TRUE(has(50) && has(-50));
  EXPECT_EQ(thin.front().x, 0);
  EXPECT_EQ(thin.back().x, 99999);
  EXPECT_TRUE(std::is_sorted(thin.begin(), thin.end(), [](const Point& a, const Point& b) { return a.x < b.x; }));
}

TEST(TerminalPlot, FillsTheWidthAndMarksEvaluations) {
  const std::string plot = PlotInTerminal(LossChart(SomeRun()), 60, 8, false);
  EXPECT_EQ(Count(plot, "\n"), 8u + 3u);
  EXPECT_EQ(Count(plot, "\033"), 0u);
  EXPECT_GE(Count(plot, "●"), 4u);
  size_t begin = 0;
  for (size_t end = plot.find('\n'); end != std::string::npos; begin = end + 1, end = plot.find('\n', begin)) {
    size_t columns = 0;  // characters, not bytes
    for (size_t i = begin; i < end; ++i) columns += (plot[i] & 0xC0) != 0x80;
    EXPECT_LE(columns, 60u) << plot;
  }
  EXPECT_NE(PlotInTerminal(LossChart(SomeRun()), 60, 8, true).find("\033[34m"), std::string::npos);
}

}  // namespace attune::report_test
