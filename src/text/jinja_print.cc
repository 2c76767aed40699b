#include "text/jinja_print.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/jinja_operators.h"
#include "text/jinja_string.h"

namespace attune::jinja {
namespace {

void AppendReprString(std::string_view text, std::string* out) {
  const bool double_quotes = text.find('\'') != text.npos && text.find('"') == text.npos;
  const char quote = double_quotes ? '"' : '\'';
  out->push_back(quote);
  for (size_t at = 0; at < text.size();) {
    const size_t size = CodePointSize(text, at);
    const char32_t c = CodePointAt(text, at);
    if (c == static_cast<char32_t>(quote) || c == '\\') {
      *out += {'\\', static_cast<char>(c)};
    } else if (c == '\n') {
      *out += "\\n";
    } else if (c == '\r') {
      *out += "\\r";
    } else if (c == '\t') {
      *out += "\\t";
    } else if (IsPrintable(c)) {
      *out += text.substr(at, size);
    } else {
      const auto number = static_cast<uint32_t>(c);
      *out += c < 0x100     ? fmt::format("\\x{:02x}", number)
              : c < 0x10000 ? fmt::format("\\u{:04x}", number)
                            : fmt::format("\\U{:08x}", number);
    }
    at += size;
  }
  out->push_back(quote);
}

void AppendItems(Runtime& rt, const List& list, std::string* out) {
  for (size_t i = 0; i < list.size; ++i) {
    if (i) *out += ", ";
    AppendRepr(rt, list.items[i], out);
  }
}

void AppendEntries(Runtime& rt, const Entry* entries, size_t size, std::string* out) {
  *out += '{';
  for (size_t i = 0; i < size; ++i) {
    if (i) *out += ", ";
    AppendRepr(rt, entries[i].key, out);
    *out += ": ";
    AppendRepr(rt, entries[i].value, out);
  }
  *out += '}';
}

class JsonWriter {
 public:
  JsonWriter(Runtime& rt, const JsonStyle& style, std::string* out) : rt_(rt), style_(style), out_(*out) {}

  void Write(const Value& value, int level) {
    const size_t before = out_.size();
    switch (value.kind) {
      case Kind::kNone:
        out_ += "null";
        break;
      case Kind::kBool:
        out_ += value.boolean ? "true" : "false";
        break;
      case Kind::kInt:
      case Kind::kBigInt:
        AppendRepr(rt_, value, &out_);
        break;
      case Kind::kFloat:
        Number(value.real);
        break;
      case Kind::kString:
        Text(value.text());
        break;
      case Kind::kList:
      case Kind::kTuple:
        return Array(value, level);
      case Kind::kDict:
        return Object(value, level);
      default:
        rt_.Fail("Object of type {} is not JSON serializable", TypeName(value));
    }
    rt_.Step();
    rt_.Charge(out_.size() - before);
  }

 private:
  void Number(double number) {
    if (std::isnan(number)) {
      out_ += "NaN";
    } else if (std::isinf(number)) {
      out_ += number > 0 ? "Infinity" : "-Infinity";
    } else {
      AppendFloat(number, &out_);
    }
  }

  void Text(std::string_view text) {
    out_ += '"';
    for (size_t at = 0; at < text.size();) {
      const size_t plain = at;
      while (at < text.size() && IsPlain(text[at])) ++at;
      out_ += text.substr(plain, at - plain);
      if (at == text.size()) break;
      Escape(CodePointAt(text, at));
      at += CodePointSize(text, at);
    }
    out_ += '"';
  }

  bool IsPlain(char c) const {
    const auto byte = static_cast<unsigned char>(c);
    return byte >= 0x20 && c != '"' && c != '\\' && (byte < 0x80 || !style_.ensure_ascii);
  }

  void Escape(char32_t c) {
    switch (c) {
      case '"':
        out_ += "\\\"";
        return;
      case '\\':
        out_ += "\\\\";
        return;
      case '\n':
        out_ += "\\n";
        return;
      case '\r':
        out_ += "\\r";
        return;
      case '\t':
        out_ += "\\t";
        return;
      case '\b':
        out_ += "\\b";
        return;
      case '\f':
        out_ += "\\f";
        return;
      default:
        break;
    }
    auto to = std::back_inserter(out_);
    if (c < 0x10000) {
      fmt::format_to(to, "\\u{:04x}", static_cast<uint32_t>(c));
    } else {
      const auto rest = static_cast<uint32_t>(c) - 0x10000;
      fmt::format_to(to, "\\u{:04x}\\u{:04x}", 0xD800 + (rest >> 10), 0xDC00 + (rest & 0x3FF));
    }
  }

  void NewLine(int level) {
    if (!style_.multiline) return;
    rt_.Charge(1 + style_.indent.size() * static_cast<size_t>(level));
    out_ += '\n';
    for (int i = 0; i < level; ++i) out_ += style_.indent;
  }

  void Array(const Value& value, int level) {
    Runtime::Depth depth(rt_);
    const List& list = rt_.Items(value);
    rt_.Step();
    if (list.size == 0) return void(out_ += "[]");
    out_ += '[';
    for (size_t i = 0; i < list.size; ++i) {
      if (i) Separator();
      NewLine(level + 1);
      Write(list.items[i], level + 1);
    }
    NewLine(level);
    out_ += ']';
  }

  void Separator() {
    rt_.Charge(style_.item_separator.size());
    out_ += style_.item_separator;
  }

  void Key(const Value& key) {
    switch (key.kind) {
      case Kind::kString:
        return Text(key.text());
      case Kind::kNone:
        out_ += "\"null\"";
        return;
      case Kind::kBool:
        out_ += key.boolean ? "\"true\"" : "\"false\"";
        return;
      case Kind::kInt:
      case Kind::kBigInt:
      case Kind::kFloat:
        out_ += '"';
        key.is(Kind::kFloat) ? Number(key.real) : AppendRepr(rt_, key, &out_);
        out_ += '"';
        return;
      default:
        rt_.Fail("keys must be str, int, float, bool or None, not {}", TypeName(key));
    }
  }

  void Object(const Value& value, int level) {
    Runtime::Depth depth(rt_);
    const Dict& dict = rt_.Entries(value);
    rt_.Step();
    if (dict.size == 0) return void(out_ += "{}");
    std::vector<const Entry*> order(dict.size);
    for (size_t i = 0; i < dict.size; ++i) order[i] = &dict.entries[i];
    if (style_.sort_keys)
      std::stable_sort(order.begin(), order.end(),
                       [&](const Entry* a, const Entry* b) { return Less(rt_, a->key, b->key); });
    out_ += '{';
    for (size_t i = 0; i < order.size(); ++i) {
      if (i) Separator();
      NewLine(level + 1);
      rt_.Charge(order[i]->key.length + style_.key_separator.size());
      Key(order[i]->key);
      out_ += style_.key_separator;
      Write(order[i]->value, level + 1);
    }
    NewLine(level);
    out_ += '}';
  }

  Runtime& rt_;
  const JsonStyle& style_;
  std::string& out_;
};

}  // namespace

void AppendFloat(double value, std::string* out) {
  if (std::isnan(value)) return void(*out += "nan");
  if (std::isinf(value)) return void(*out += value > 0 ? "inf" : "-inf");
  if (value == 0) return void(*out += std::signbit(value) ? "-0.0" : "0.0");
  char buffer[40];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific);
  std::string_view text(buffer, static_cast<size_t>(end.ptr - buffer));
  if (text[0] == '-') {
    *out += '-';
    text.remove_prefix(1);
  }
  const size_t e = text.find('e');
  const int exponent = std::atoi(std::string(text.substr(e + 1)).c_str());
  std::string digits(text.substr(0, 1));
  if (e > 2) digits += text.substr(2, e - 2);
  const int count = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    *out += digits[0];
    if (count > 1) *out += "." + digits.substr(1);
    *out += fmt::format("e{}{:02}", exponent < 0 ? '-' : '+', std::abs(exponent));
  } else if (exponent < 0) {
    *out += "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  } else if (count <= exponent + 1) {
    *out += digits + std::string(static_cast<size_t>(exponent + 1 - count), '0') + ".0";
  } else {
    *out +=
        digits.substr(0, static_cast<size_t>(exponent) + 1) + "." + digits.substr(static_cast<size_t>(exponent) + 1);
  }
}

void AppendStr(Runtime& rt, const Value& value, std::string* out) {
  if (value.is(Kind::kUndefined)) return;
  if (!value.is(Kind::kString)) return AppendRepr(rt, value, out);
  rt.Charge(value.length);
  *out += value.text();
}

void AppendRepr(Runtime& rt, const Value& value, std::string* out) {
  Runtime::Depth depth(rt);
  rt.Step(2);
  const size_t before = out->size();
  size_t nested = 0;  // bytes that inner calls have charged
  switch (value.kind) {
    case Kind::kMissing:
    case Kind::kUndefined:
      *out += "Undefined";
      break;
    case Kind::kNone:
      *out += "None";
      break;
    case Kind::kBool:
      *out += value.boolean ? "True" : "False";
      break;
    case Kind::kInt:
      fmt::format_to(std::back_inserter(*out), "{}", value.integer);
      break;
    case Kind::kBigInt:
      fmt::format_to(std::back_inserter(*out), "{}", value.big);
      break;
    case Kind::kFloat:
      AppendFloat(value.real, out);
      break;
    case Kind::kString:
      if (value.markup) *out += "Markup(";
      AppendReprString(value.text(), out);
      if (value.markup) *out += ')';
      break;
    case Kind::kList:
    case Kind::kTuple: {
      const bool tuple = value.is(Kind::kTuple);
      *out += tuple ? '(' : '[';
      AppendItems(rt, rt.Items(value), out);
      if (tuple && value.list->size == 1) *out += ',';
      *out += tuple ? ')' : ']';
      nested = out->size() - before - std::min<size_t>(out->size() - before, 2 + 2 * value.list->size);
      break;
    }
    case Kind::kDict: {
      const Dict& dict = rt.Entries(value);
      AppendEntries(rt, dict.entries, dict.size, out);
      nested = out->size() - before - std::min<size_t>(out->size() - before, 2 + 4 * dict.size);
      break;
    }
    case Kind::kRange:
      fmt::format_to(std::back_inserter(*out), "range({}, {}", value.range->start, value.range->stop);
      if (value.range->step != 1) fmt::format_to(std::back_inserter(*out), ", {}", value.range->step);
      *out += ')';
      break;
    case Kind::kView:
      *out += value.view->type;
      *out += "([";
      AppendItems(rt, value.view->items, out);
      *out += "])";
      break;
    case Kind::kNamespace:
      *out += "<Namespace ";
      AppendEntries(rt, value.name_space->entries, value.name_space->size, out);
      *out += '>';
      break;
    case Kind::kCallable:
      *out += value.callable->macro ? "<Macro '" : "<function '";
      *out += value.callable->name;
      *out += "'>";
      break;
    case Kind::kIterator:
      fmt::format_to(std::back_inserter(*out), "<{} object>", value.iterator->type);
      break;
    case Kind::kLoop:
      *out += "<LoopContext>";
      break;
  }
  rt.Charge(out->size() - before - nested);
}

Value ToStr(Runtime& rt, const Value& value) {
  if (value.is(Kind::kString)) return value;
  if (value.is(Kind::kUndefined)) return Value::Borrow({});
  std::string out;
  AppendRepr(rt, value, &out);
  return rt.String(out);
}

void AppendJson(Runtime& rt, const Value& value, const JsonStyle& style, std::string* out) {
  JsonWriter(rt, style, out).Write(value, 0);
}

}  // namespace attune::jinja
