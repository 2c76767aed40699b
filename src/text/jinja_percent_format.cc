// printf-style formatting, "%s" % value.
#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "text/jinja_format.h"
#include "text/jinja_operators.h"
#include "text/jinja_string.h"

namespace attune::jinja {
namespace {

// "%s" % value: walks the format and takes arguments in order, or by name from a mapping.
class PercentFormatter {
 public:
  PercentFormatter(Runtime& rt, const Value& format, const Value& value)
      : rt_(rt), format_(format.text()), escape_(format.markup), mapping_(value) {
    if (value.is(Kind::kTuple)) {
      args_ = rt.Items(value);
    } else {
      args_ = {&mapping_, 1, nullptr};
    }
  }

  std::string Run() {
    while (at_ < format_.size()) {
      const size_t percent = std::min(format_.find('%', at_), format_.size());
      rt_.Charge(percent - at_);
      out_ += format_.substr(at_, percent - at_);
      at_ = percent;
      if (at_ < format_.size()) Directive();
    }
    // What can be subscripted passes for a mapping, and a mapping may have more than the format asks for.
    const bool mapping = mapping_.is(Kind::kDict) || mapping_.is(Kind::kList) || mapping_.is(Kind::kRange) ||
                         mapping_.is(Kind::kUndefined);
    if (next_ < args_.size && !mapping) rt_.Fail("not all arguments converted during string formatting");
    return std::move(out_);
  }

 private:
  char Peek() const {
    if (at_ >= format_.size()) rt_.Fail("incomplete format");
    return format_[at_];
  }

  Value Next() {
    if (next_ >= args_.size) rt_.Fail("not enough arguments for format string");
    return args_.items[next_++];
  }

  int64_t Number(int64_t limit) {
    if (Peek() != '*') return ReadFormatNumber(rt_, format_, &at_, limit);
    ++at_;
    const Value value = Next();
    if (!value.IsIntegral()) rt_.Fail("* wants int");
    if (std::abs(std::max(value.AsInt(), -INT64_MAX)) > limit)
      rt_.Fail("the width or precision of a format is too large");
    return value.AsInt();
  }

  void Directive() {
    ++at_;
    FormatSpec spec;
    Value value;
    if (Peek() == '(') {
      const size_t close = format_.find(')', at_);
      if (close == format_.npos) rt_.Fail("incomplete format key");
      if (!mapping_.is(Kind::kDict)) rt_.Fail("format requires a mapping");
      const std::string_view key = format_.substr(at_ + 1, close - at_ - 1);
      const Value* found = rt_.Find(mapping_, key);
      if (!found) rt_.Fail("no key '{}' for the format", key);
      value = *found;
      at_ = close + 1;
    }
    bool zero = false;
    for (; std::string_view("-+ #0").find(Peek()) != std::string_view::npos; ++at_) {
      const char flag = format_[at_];
      if (flag == '-') spec.align = '<';
      if (flag == '+' || (flag == ' ' && spec.sign != '+')) spec.sign = flag;
      if (flag == '#') spec.alternate = true;
      if (flag == '0') zero = true;
    }
    spec.width = Number(kMaxFormatWidth);
    if (spec.width < 0) {
      spec.align = '<';
      spec.width = -spec.width;
    }
    if (Peek() == '.') {
      ++at_;
      spec.precision = std::max<int64_t>(Number(kMaxFormatPrecision), 0);
    }
    while (Peek() == 'l' || Peek() == 'h' || Peek() == 'L') ++at_;
    const char type = format_[at_++];
    if (type == '%') return void(out_ += '%');
    if (zero && spec.align == 0) {
      spec.fill = "0";
      spec.align = '=';
    }
    Convert(type, spec, value.is(Kind::kMissing) ? Next() : value);
  }

  void Convert(char type, FormatSpec spec, const Value& value) {
    switch (type) {
      case 's':
      case 'r':
      case 'a':
        return Text(type, spec, value);
      case 'c':
        return Character(spec, value);
      case 'd':
      case 'i':
      case 'u':
        spec.type = 'd';
        break;
      case 'x':
      case 'X':
      case 'o':
      case 'e':
      case 'E':
      case 'f':
      case 'F':
      case 'g':
      case 'G':
        spec.type = type;
        break;
      default:
        rt_.Fail("unsupported format character '{}'", type);
    }
    const bool integer = std::string_view("dxXo").find(spec.type) != std::string_view::npos;
    if (!value.IsNumber() || (spec.type != 'd' && integer && !value.IsIntegral()))
      rt_.Fail("%{} format: {} is required, not {}", type, integer && spec.type != 'd' ? "an integer" : "a real number",
               TypeName(value));
    if (!integer) return Pad(rt_, FloatText(value.AsDouble(), spec), spec, '>', &out_);
    if (value.is(Kind::kFloat) && !(std::fabs(value.real) < 9.2e18)) rt_.Fail("cannot convert float to integer");
    const int64_t number = value.is(Kind::kFloat) ? static_cast<int64_t>(value.real) : value.AsInt();
    Pad(rt_, IntegerText(number, spec), spec, '>', &out_);
  }

  void Text(char type, const FormatSpec& spec, const Value& value) {
    std::string text;
    type == 's' ? AppendStr(rt_, value, &text) : AppendRepr(rt_, value, &text);
    if (type == 'a') text = EscapeToAscii(text);
    if (escape_ && !(type == 's' && value.markup)) text = EscapeHtml(text);
    if (spec.precision >= 0) text.resize(ByteOffset(text, static_cast<size_t>(spec.precision)));
    Pad(rt_, text,
        FormatSpec{spec.fill == "0" ? " " : spec.fill, spec.align == '=' ? '>' : spec.align, '-', 0, 0, false,
                   spec.width, -1},
        '>', &out_);
  }

  void Character(const FormatSpec& spec, const Value& value) {
    std::string text;
    if (value.is(Kind::kString) && CountCodePoints(value.text()) == 1) {
      text = value.text();
    } else if (value.IsIntegral() && value.AsInt() >= 0 && value.AsInt() < 0x110000 &&
               (value.AsInt() < 0xD800 || value.AsInt() > 0xDFFF)) {
      AppendCodePoint(static_cast<char32_t>(value.AsInt()), &text);
    } else {
      rt_.Fail("%c requires int or char");
    }
    Pad(rt_, text, spec, '>', &out_);
  }

  Runtime& rt_;
  std::string_view format_;
  bool escape_;
  Value mapping_;
  List args_;
  size_t next_ = 0, at_ = 0;
  std::string out_;
};

}  // namespace

Value FormatPercent(Runtime& rt, const Value& format, const Value& value) {
  return rt.String(PercentFormatter(rt, format, value).Run(), format.markup);
}

}  // namespace attune::jinja
