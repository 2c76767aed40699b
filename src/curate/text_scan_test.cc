#include "curate/text_scan.h"

#include <gtest/gtest.h>

#include <chrono>

#include "curate/encoding.h"
#include "curate/json_string.h"
#include "curate/language.h"
#include "curate/row_parser.h"

namespace attune::text_scan_test {

const ColumnMap kNoNames;

// "id[what]" of each finding in an answer to "Q".
std::vector<std::string> Found(const std::string& answer, const std::string& prompt = "Q") {
  std::string json = "{\"prompt\": ";
  AppendJsonString(prompt, &json);
  json += ", \"completion\": ";
  AppendJsonString(answer, &json);
  json += "}";
  RowParser parser(kNoNames);
  const Row& row = parser.ParseText(json);
  std::vector<Finding> findings;
  ScanTexts(row, &findings);
  std::vector<std::string> found;
  for (const Finding& finding : findings) {
    found.push_back(std::string(InfoOf(finding.rule).id) + "[" +
                    std::string(row.parts[finding.part].text.substr(finding.begin, finding.end - finding.begin)) + "]");
  }
  return found;
}

using List = std::vector<std::string>;

TEST(TextScan, PlainTextHasNothing) {
  for (const char* text :
       {"Paris is the capital of France, since 1789-07-14.", "Größe: 5 Äpfel für 3,20 €.", "日本語のテキストです。",
        "emoji 👨‍👩‍👧 ok", "2 < 3 and 4 > 1; a & b",
        "Version 1.2.3, 10.000.000 people, pages 123-456, ISBN 978-3-16-148410-0", "“Gruß“ CAFÉ… « café…”",
        "می‌خواهم", "x = a[1] @ b.T", "sk-learn and hf_token, AKIA",
        "hf_dataset_name_v2_processed_rows = npm_config_cache_v2_dirs", "git clone git@github.com:foo/bar.git",
        "y = x@self.weight + A@B.transpose(0, 1)", "vector<i> v; foo<b>(x); a<b>c",
        "Use `<a href=\"x\">link</a>`, or ` &amp; `.", "````md\n```py\nx = \"<br>\"\n```\n````",
        "00 11 22 33 44 55 66 77 88", "The years 1914 1918 1939 1945."}) {
    EXPECT_EQ(Found(text), List{}) << text;
  }
}

TEST(TextScan, Encoding) {
  EXPECT_EQ(Found("cafÃ© au lait"), List{"mojibake[Ã©]"});
  EXPECT_EQ(Found("itâ€™s"), List{"mojibake[â€™]"});
  EXPECT_EQ(Found("ÐŸÑ€Ð¸Ð²ÐµÑ‚"), List{"mojibake[ÐŸÑ€Ð¸Ð²ÐµÑ‚]"});
  EXPECT_EQ(Found(std::string("a\0\x7F b", 5)), List{std::string("control-character[\0\x7F]", 21)});
  EXPECT_EQ(Found("a\uFFFDb"), List{"replacement-character[\uFFFD]"});
  EXPECT_EQ(Found("a\u200Bb\u202Ec"), (List{"odd-unicode[\u200B]", "odd-unicode[\u202E]"}));
  EXPECT_EQ(Found("cafe\u0301"), List{"not-nfc[cafe\u0301]"});
}

TEST(TextScan, MojibakeIsMended) {
  const std::pair<const char*, const char*> cases[] = {
      {"Ã©", "é"}, {"â€œ", "“"}, {"ðŸ˜€", "😀"}, {"Â°", "°"}, {"ä½\u00A0å¥½", "你好"}};
  for (const auto& [broken, meant] : cases) {
    std::string mended;
    EXPECT_EQ(MendMojibakeAt(broken, 0, Mojibake::kSure, &mended), std::string_view(broken).size()) << broken;
    EXPECT_EQ(mended, meant);
  }
  std::string mended;
  EXPECT_EQ(MendMojibakeAt("é", 0, Mojibake::kSure, &mended), 0u);
  EXPECT_EQ(MendMojibakeAt("ß“ ", 0, Mojibake::kSure, &mended), 0u) << "a German quotation ends so";
  EXPECT_EQ(mended, "");
}

TEST(TextScan, CorrectTextIsNoMojibake) {
  for (const char* text : {"“AMANHÃ”, disse ele; MAÇÃ… IRMÃ» ROMÃ – SÃO PAULO", "„Ä“ und „Å“ sind Buchstaben, Gruß“",
                           "À bientôt, Â et â ; château", "Ã como letra. O Â."})
    EXPECT_EQ(Found(text), List{}) << text;
}

TEST(TextScan, WhereSomeIsMojibakeTheRestIsReadSoToo) {
  EXPECT_EQ(Found("CafÃ© in ÅÃ³dÅº, HÃ”TEL"),
            (List{"mojibake[Ã©]", "mojibake[ÅÃ³]", "mojibake[Åº]", "mojibake[Ã”]"}));
  EXPECT_EQ(Found("Å“uvre"), List{}) << "by itself it may be a quotation's end";
}

TEST(TextScan, PersonalData) {
  EXPECT_EQ(Found("Write to jane.doe+x@mail.example.co.uk."), List{"email[jane.doe+x@mail.example.co.uk]"});
  EXPECT_EQ(Found("@user and a@b are none"), List{});
  EXPECT_EQ(Found("an jörg@münchen.de, 请写user@example.com谢谢"),
            (List{"email[jörg@münchen.de]", "email[user@example.com]"}));
  EXPECT_EQ(Found("Call +49 30 1234567 or (555) 123-4567, 555-123-4567."),
            (List{"phone[+49 30 1234567]", "phone[(555) 123-4567]", "phone[555-123-4567]"}));
  EXPECT_EQ(Found("Tel. 030/1234567"), List{"phone[030/1234567]"});
  EXPECT_EQ(Found("0044 20 7946 0958"), List{"phone[0044 20 7946 0958]"});
  EXPECT_EQ(Found("Ask jane@example.com: she knows."), List{"email[jane@example.com]"});
  EXPECT_EQ(Found("Card 4111 1111 1111 1111, not 4111 1111 1111 1112."), List{"card-number[4111 1111 1111 1111]"});
  EXPECT_EQ(Found("5500005555555559"), List{"card-number[5500005555555559]"});
  EXPECT_EQ(Found("IBAN DE89 3704 0044 0532 0130 00, GB82WEST12345698765432; DE88370400440532013000"),
            (List{"iban[DE89 3704 0044 0532 0130 00]", "iban[GB82WEST12345698765432]"}));
}

TEST(TextScan, Secrets) {
  EXPECT_EQ(Found("key AKIAIOSFODNN7EXAMPLE."), List{"secret[AKIAIOSFODNN7EXAMPLE]"});
  EXPECT_EQ(Found("sk-proj-abcdefghijklmnopqrstuvwx1234567890"),
            List{"secret[sk-proj-abcdefghijklmnopqrstuvwx1234567890]"});
  EXPECT_EQ(Found("ghp_0123456789abcdefghijABCDEFGHIJ012345"),
            List{"secret[ghp_0123456789abcdefghijABCDEFGHIJ012345]"});
  EXPECT_EQ(Found("x -----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY----- y"),
            List{"secret[-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----]"});
}

TEST(TextScan, WhatOnlyBeginsLikeASecretIsNone) {
  EXPECT_EQ(Found("The airport is in SG. Ask there; the SG... and eyJ."), List{});
  EXPECT_EQ(Found("sk-learn-is-a-library-for-machine-learning"), List{}) << "no digit";
  EXPECT_EQ(Found("SG.abcdefghijklmnopqrstuv.abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG."),
            List{"secret[SG.abcdefghijklmnopqrstuv.abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG]"});
  EXPECT_EQ(Found("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N..."),
            List{"secret[eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N]"});
}

// Each of these took time as the square of the text: minutes to days for one row of a megabyte.
TEST(TextScan, NoTextTakesForEver) {
  const auto repeated = [](std::string_view piece, size_t bytes) {
    std::string text;
    while (text.size() < bytes) text += piece;
    return text;
  };
  for (const char* piece : {"<b>", "`&amp;", "sk-", "eyJ-", "1 ", "12 34-", "@a", "-----BEGIN ", "<a href ", "DE12 ",
                            "\u0301\u0327", "\u00C3", "i am "}) {
    const auto start = std::chrono::steady_clock::now();
    Found(repeated(piece, size_t{1} << 20));
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20)) << piece;
  }
  Row row;
  const std::string part = "a <br> b";
  for (int i = 0; i < 100'000; ++i) row.parts.push_back({Speaker::kUser, part});
  std::vector<Finding> findings;
  ScanTexts(row, &findings);
  EXPECT_EQ(findings.size(), 100'000u);
}

TEST(TextScan, RefusalsAndBoilerplate) {
  EXPECT_EQ(Found("As an AI language model, I do."), List{"refusal[As an AI language model]"});
  EXPECT_EQ(Found("I’m sorry, but I can’t do it."), List{"refusal[I’m sorry, but I can]"});
  EXPECT_EQ(Found("He thought long about it, went to the window and said: I cannot help you, my friend."), List{});
  EXPECT_EQ(Found("Yes. I hope this helps!"), List{"boilerplate[I hope this helps]"});
  EXPECT_EQ(Found("Yes.", "As an AI language model, what do you do?"), List{}) << "only answers refuse";
}

TEST(TextScan, HtmlFencesAndTemplates) {
  EXPECT_EQ(Found("one<br>two &amp; <a href=\"x\">three</a>"),
            (List{"html[<br>]", "html[&amp;]", "html[<a href=\"x\">]", "html[</a>]"}));
  EXPECT_EQ(Found("```\n<br>\n```"), List{});
  EXPECT_EQ(Found("use <br> here", "How do I break a line in HTML?"), List{});
  EXPECT_EQ(Found("a <I>word</P></I>"), (List{"html[<I>]", "html[</P>]", "html[</I>]"}));
  EXPECT_EQ(Found("a <b>bold</b> word, `a` <br>"), (List{"html[<b>]", "html[</b>]", "html[<br>]"}));
  EXPECT_EQ(Found("```python\nx = 1\n"), List{"unbalanced-fence[```]"});
  EXPECT_EQ(Found("````\n```\nx = 1\n"), List{"unbalanced-fence[````]"});
  EXPECT_EQ(Found("````\n```\nx = 1\n````"), List{});
  EXPECT_EQ(Found("fine <|im_end|>"), List{"template-token[<|im_end|>]"});
}

TEST(TextScan, TruncatedAnswers) {
  std::string text;
  while (text.size() < 300) text += "The cat sat on the mat and looked at the moon. ";
  EXPECT_EQ(Found(text), List{});
  EXPECT_EQ(Found(text + "and then it went"), List{"truncated-answer[t]"});
  EXPECT_EQ(Found(text + "\n- milk\n- bread"), List{});
}

TEST(TextScan, Languages) {
  EXPECT_STREQ(LanguageOf("The cat that was on the mat is not with you."), "English");
  EXPECT_STREQ(LanguageOf("Die Katze ist nicht auf der Matte und das ist gut."), "German");
  EXPECT_STREQ(LanguageOf("Le chat est sur le tapis et les souris sont dans une maison."), "French");
  EXPECT_STREQ(LanguageOf("Кошка сидит на ковре"), "Cyrillic");
  EXPECT_STREQ(LanguageOf("日本語のテキストです"), "Japanese");
  EXPECT_STREQ(LanguageOf("猫坐在垫子上看月亮"), "Han");
  EXPECT_STREQ(LanguageOf("x = 5"), "");
  EXPECT_STREQ(LanguageOf(std::string(255, 'x') + "é"), "") << "cut within a character";
}

}  // namespace attune::text_scan_test
