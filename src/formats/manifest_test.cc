#include "formats/manifest.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace attune::manifest_test {

constexpr const char* kDigits = "0123456789abcdef0123456789abcdef";

std::string ErrorOf(const std::string& text) {
  try {
    ParseManifest(text, "manifest.json");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kBadInput);
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    return error.what();
  }
  return "";
}

std::string WithFile(const std::string& file) {
  return R"({"version": 1, "hash": "xxh3_128", "files": [)" + file + "]}";
}

std::string WithPath(const std::string& path) {
  return WithFile(R"({"path": ")" + path + R"(", "bytes": 1, "xxh3_128": ")" + kDigits + R"("})");
}

TEST(Manifest, IsReadAsItWasWritten) {
  const std::vector<ManifestFile> files = {
      {"a.bin", 0, kDigits}, {"sub/\"quoted\" ü.txt", INT64_MAX, std::string(32, 'f')}, {"..a/b..", 1, kDigits}};
  EXPECT_EQ(ParseManifest(ManifestText(files), "manifest.json"), files);
}

TEST(Manifest, TheFormOfVersion1Stays) {
  EXPECT_EQ(ManifestText({{"a", 5, kDigits}}), R"({
  "version": 1,
  "hash": "xxh3_128",
  "files": [
    {
      "path": "a",
      "bytes": 5,
      "xxh3_128": "0123456789abcdef0123456789abcdef"
    }
  ]
}
)");
}

TEST(Manifest, AFileNameThatIsNotUtf8IsRefused) { EXPECT_THROW(ManifestText({{"\xff", 1, kDigits}}), Error); }

TEST(Manifest, NoPathLeadsOut) {
  for (const char* path :
       {"", "/etc/passwd", "..", "../x", "a/../../x", "a/..", ".", "./a", "a//b", "a/", "/", "a\\u0000b"}) {
    EXPECT_NE(ErrorOf(WithPath(path)).find("leads out of the folder"), std::string::npos) << path;
  }
  EXPECT_EQ(ErrorOf(WithPath("a/b.c/...d")), "");
}

TEST(Manifest, WhatIsWrongIsNamed) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "manifest.json:1:1: not valid JSON"},
      {"[]", "manifest.json: holds array where an object is due"},
      {"{}", "manifest.json: lacks \"version\""},
      {R"({"version": "1"})", "\"version\" is not a whole number"},
      {R"({"version": 2})", "is of version 2; this attune reads version 1"},
      {R"({"version": 1})", "lacks \"hash\""},
      {R"({"version": 1, "hash": 5})", "\"hash\" is not a text"},
      {R"({"version": 1, "hash": "md5\n"})", R"("hash" is "md5\n"; this attune knows "xxh3_128")"},
      {R"({"version": 1, "hash": "xxh3_128"})", "lacks \"files\""},
      {R"({"version": 1, "hash": "xxh3_128", "files": {"a": 1}})", "\"files\" is not a list of files"},
      {WithFile(""), "\"files\" is not a list of files"},
      {WithFile("7"), "holds number where an object is due"},
      {WithFile("{}"), "lacks \"path\""},
      {WithFile(R"({"path": ["a"]})"), "\"path\" is not a text"},
      {WithFile(R"({"path": "a"})"), "lacks \"bytes\""},
      {WithFile(R"({"path": "a", "bytes": -1})"), "\"bytes\" is not a whole number of at least 0"},
      {WithFile(R"({"path": "a", "bytes": 1.0})"), "\"bytes\" is not a whole number of at least 0"},
      {WithFile(R"({"path": "a", "bytes": 9223372036854775808})"), "\"bytes\" is not a whole number of at least 0"},
      {WithFile(R"({"path": "a", "bytes": 99999999999999999999999})"), "\"bytes\" is not a whole number of at least 0"},
      {WithFile(R"({"path": "a", "bytes": 1})"), "lacks \"xxh3_128\""},
      {WithFile(R"({"path": "a", "bytes": 1, "xxh3_128": "12"})"), "is not 32 hexadecimal digits"},
      {WithFile(R"({"path": "a", "bytes": 1, "xxh3_128": "0123456789ABCDEF0123456789abcdef"})"),
       "\"xxh3_128\" of \"a\" is not 32 hexadecimal digits"},
      {std::string(300, '['), "nested deeper than 256 levels"},
  };
  for (const auto& [text, expected] : cases) {
    EXPECT_NE(ErrorOf(text).find(expected), std::string::npos) << text << "\n" << ErrorOf(text);
  }
  const std::string file = R"({"path": "a", "bytes": 1, "xxh3_128": ")" + std::string(kDigits) + "\"}";
  EXPECT_NE(ErrorOf(WithFile(file + "," + file)).find("lists \"a\" twice"), std::string::npos);
}

}  // namespace attune::manifest_test
