#include "text/chat_template.h"

#include "base/error.h"
#include "text/jinja_interpreter.h"
#include "text/jinja_parser.h"

namespace attune {

struct ChatTemplate::Impl {
  std::string source;
  std::unique_ptr<jinja::Template> parsed;
};

ChatTemplate::ChatTemplate(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;

ChatTemplate ChatTemplate::Parse(std::string_view source, std::string where) {
  auto impl = std::make_unique<Impl>();
  impl->source = source;
  impl->parsed = jinja::ParseTemplate(source, std::move(where));
  return ChatTemplate(std::move(impl));
}

RenderedChat ChatTemplate::Render(const nlohmann::ordered_json& context, const std::tm* now) const {
  if (!context.is_object()) BadInput("{}: the variables of a chat template must be a JSON object", where());
  ChatVariables variables;
  for (const auto& [name, value] : context.get_ref<const nlohmann::ordered_json::object_t&>())
    variables.emplace_back(name, &value);
  return Render(variables, now);
}

RenderedChat ChatTemplate::Render(const ChatVariables& variables, const std::tm* now) const {
  jinja::Interpreter interpreter(*impl_->parsed, variables, now);
  interpreter.Run();
  return {std::move(interpreter.output()), std::move(interpreter.spans())};
}

bool ChatTemplate::HasGenerationBlocks() const { return impl_->parsed->has_generation; }
const std::string& ChatTemplate::source() const { return impl_->source; }
const std::string& ChatTemplate::where() const { return impl_->parsed->where; }

}  // namespace attune
