#include "train/optim_args.h"

#include <algorithm>
#include <cctype>
#include <charconv>

#include "base/error.h"

namespace attune {
namespace {

double Share(const std::string& value, const std::string& pair, const std::string& where) {
  double number = -1;
  const auto read = std::from_chars(value.data(), value.data() + value.size(), number);
  if (read.ec != std::errc() || read.ptr != value.data() + value.size() || !(number >= 0 && number < 1)) {
    BadInput("{}: \"{}\": must be a number from 0 to below 1", where, pair);
  }
  return number;
}

bool Truth(std::string value, const std::string& pair, const std::string& where) {
  std::transform(value.begin(), value.end(), value.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const char* yes : {"true", "1", "yes"}) {
    if (value == yes) return true;
  }
  for (const char* no : {"false", "0", "no"}) {
    if (value == no) return false;
  }
  BadInput("{}: \"{}\": must be true or false", where, pair);
}

}  // namespace

SgdArguments ParseOptimArgs(std::string text, const std::string& where) {
  SgdArguments sgd;
  std::erase(text, ' ');
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string pair = text.substr(begin, end - begin);
    begin = end + 1;
    const size_t equals = pair.find('=');
    const std::string key = pair.substr(0, equals), value = equals == std::string::npos ? "" : pair.substr(equals + 1);
    if (key == "momentum") {
      sgd.momentum = Share(value, pair, where);
    } else if (key == "dampening") {
      sgd.dampening = Share(value, pair, where);
    } else if (key == "nesterov") {
      sgd.nesterov = Truth(value, pair, where);
    } else {
      BadInput("{}: \"{}\": known are momentum, dampening and nesterov, of sgd, written momentum=0.9,nesterov=true",
               where, pair);
    }
  }
  if (sgd.nesterov && (sgd.momentum == 0 || sgd.dampening != 0)) {
    BadInput("{}: nesterov needs a momentum, and no dampening", where);
  }
  return sgd;
}

}  // namespace attune
