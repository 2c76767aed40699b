#include "store/data_report.h"

#include <gtest/gtest.h>

namespace attune::data_report_test {

using Json = nlohmann::ordered_json;

Json SomeReport(const std::string& text) {
  return {{"title", text},
          {"stages",
           {{{"stage", "clean"},
             {"inputs", {{{"path", text}, {"bytes", 5}, {"xxh3_128", "00ff"}}}},
             {"settings", {{"strict", false}}},
             {"rows_in", 1200},
             {"rows_out", 1100},
             {"removed", {{text, 100}}},
             {"changed", {{"mojibake", 7}}},
             {"examples", {{{"where", text}, {"rule", "html"}, {"before", text}, {"after", text}}}}},
            {{"stage", "dedupe"},
             {"rows_in", 1100},
             {"rows_out", 1000},
             {"largest", {{{"rows", 9}, {"kept", text}, {"removed", {text}}}}}},
            {{"stage", "decontaminate"},
             {"rows_in", 1000},
             {"rows_out", 999},
             {"examples", {{{"where", text}, {"eval", text}, {"words", 12}, {"text", text}}}}}}},
          {"check",
           {{"errors", 3},
            {"warnings", 0},
            {"findings",
             {{{"rule", "email"},
               {"severity", "error"},
               {"what", text},
               {"rows", 3},
               {"examples", {{{"where", text}, {"detail", text}}}}}}},
            {"formats", {{text, 999}}},
            {"languages", {{"English", 999}}}}},
          {"diversity", {{"rows", 900}, {"vendi", 123.4}, {"mean_nearest_distance", 0.375}}},
          {"scores",
           {{"rows", 900},
            {"mean_loss", 2.345},
            {"mean_ifd", 0.678},
            {"ifd_from_1", 12},
            {"ifd", {{{"from", 0.5}, {"rows", 800}}, {{"from", 0.6}, {"rows", 100}}}},
            {"worst",
             {{{"what", text},
               {"rows", {{{"where", text}, {"loss", 5.55}, {"ifd", 1.25}, {"prompt", text}, {"answer", text}}}}}}}}},
          {"tokens",
           {{"rows", 999},
            {"tokens", 50000},
            {"trained_tokens", 25000},
            {"lengths", {{{"to", 64}, {"rows", 999}}}},
            {"at_max_length", {{{"max_length", 32}, {"cut_rows", 500}, {"cut_tokens", 9000}, {"packing", 0.875}}}}}}};
}

TEST(DataReport, TellsWhatWasDone) {
  const std::string html = DataReportHtml(SomeReport("train.jsonl"));
  for (const char* piece : {"1\u202F200",
                            "rows at first",
                            ">999<",
                            ">201<",
                            "rows taken out",
                            "100 removed train.jsonl",
                            "7 changed mojibake",
                            "<b>9</b> rows say the same",
                            "shares <b>12</b> words",
                            "50.0 %",
                            "50.1 %",
                            "87.5 %",
                            "XXH3 00ff",
                            "123 of 900",
                            "0.38",
                            "2.35",
                            "0.68",
                            ">12<",
                            "IFD ≥ 0.5",
                            "<b>5.55</b> nats",
                            "IFD <b>1.25</b>",
                            "Settings of clean"})
    EXPECT_NE(html.find(piece), std::string::npos) << piece;
}

TEST(DataReport, EscapesWhateverComesFromData) {
  const std::string html = DataReportHtml(SomeReport("<script>alert(\"1\")</script>"));
  EXPECT_EQ(html.find("<script"), std::string::npos);
  EXPECT_NE(html.find("&lt;script&gt;"), std::string::npos);
}

TEST(DataReport, PartsMayBeAbsent) {
  EXPECT_NE(DataReportHtml({{"title", "t"}, {"stages", {{{"stage", "clean"}}}}}).find("</html>"), std::string::npos);
  EXPECT_NE(DataReportHtml({{"title", "t"}}).find("</html>"), std::string::npos);
}

}  // namespace attune::data_report_test
