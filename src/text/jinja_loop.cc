// The attributes of the `loop` variable.
#include "text/jinja_interpreter.h"
#include "text/jinja_operators.h"

namespace attune::jinja {
namespace {

// The item after the current one; false at the end.
bool Peek(Runtime& rt, Loop* loop) {
  if (!loop->has_after) loop->has_after = rt.interpreter->Advance(loop, &loop->after);
  return loop->has_after;
}

int64_t LoopLength(Runtime& rt, Loop* loop) {
  if (loop->length < 0) {
    rt.interpreter->Exhaust(loop);
    loop->length = static_cast<int64_t>(loop->size) + loop->index0 + 1 + (loop->has_after ? 1 : 0);
  }
  return loop->length;
}

Value Cycle(Runtime& rt, const Value& self, const Args& args) {
  if (args.count == 0 || args.named_count > 0) rt.Fail("no items for cycling given");
  return args.positional[static_cast<size_t>(self.loop->index0) % args.count];
}

Value Changed(Runtime& rt, const Value& self, const Args& args) {
  const Value now = rt.NewList(args.positional, args.count, Kind::kTuple);
  const bool changed = self.loop->changed.is(Kind::kMissing) || !Equal(rt, self.loop->changed, now);
  self.loop->changed = now;
  return Value::Bool(changed);
}

Value Bind(Runtime& rt, std::string_view name, Function function, const Value& loop) {
  Value v = Value::Of(Kind::kCallable);
  v.callable = rt.Make(Callable{name, function, loop, nullptr, nullptr});
  return v;
}

}  // namespace

Value LoopAttribute(Runtime& rt, const Value& value, std::string_view name) {
  Loop* loop = value.loop;
  if (name == "index") return Value::Int(loop->index0 + 1);
  if (name == "index0") return Value::Int(loop->index0);
  if (name == "first") return Value::Bool(loop->index0 == 0);
  if (name == "last") return Value::Bool(!Peek(rt, loop));
  if (name == "length") return Value::Int(LoopLength(rt, loop));
  if (name == "revindex") return Value::Int(LoopLength(rt, loop) - loop->index0);
  if (name == "revindex0") return Value::Int(LoopLength(rt, loop) - loop->index0 - 1);
  if (name == "previtem") return loop->index0 == 0 ? rt.NewUndefinedHint("there is no previous item") : loop->before;
  if (name == "nextitem") return Peek(rt, loop) ? loop->after : rt.NewUndefinedHint("there is no next item");
  if (name == "depth") return Value::Int(loop->depth0 + 1);
  if (name == "depth0") return Value::Int(loop->depth0);
  if (name == "cycle") return Bind(rt, "cycle", Cycle, value);
  if (name == "changed") return Bind(rt, "changed", Changed, value);
  return {};
}

}  // namespace attune::jinja
