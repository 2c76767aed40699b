// Chat templates: the subset of Jinja that Hugging Face models use, rendered as transformers renders them
// (sandboxed, trim_blocks and lstrip_blocks on, loop controls, {% generation %}).
#pragma once

#include <ctime>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace attune {

struct RenderedChat {
  std::string text;                                        // already carries BOS where the template writes it
  std::vector<std::pair<size_t, size_t>> assistant_spans;  // bytes [start, end) inside {% generation %} blocks
};

// Name and value of each variable; both outlive the rendering.
using ChatVariables = std::vector<std::pair<std::string_view, const nlohmann::ordered_json*>>;

// Immutable once parsed: threads may render from one template at once. A rendering is bounded in work, depth
// and memory (64 MiB and 64 times the variables), so that a hostile template ends in an error.
class ChatTemplate {
 public:
  // Errors: Error{kBadInput} "WHERE:LINE: ...". `where` names the source for this and for errors of Render.
  static ChatTemplate Parse(std::string_view source, std::string where);
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;

  // `context`: messages, tools, documents, add_generation_prompt, bos_token, ... and any user variable. `now`
  // is what strftime_now shows; null means the local time. Errors: Error{kBadInput}: raise_exception's
  // message verbatim, or "WHERE:LINE: " and what Jinja would have raised.
  RenderedChat Render(const nlohmann::ordered_json& context, const std::tm* now = nullptr) const;
  // The same with the variables one by one, later ones winning; nothing is copied.
  RenderedChat Render(const ChatVariables& variables, const std::tm* now = nullptr) const;

  bool HasGenerationBlocks() const;
  const std::string& source() const;  // as given to Parse
  const std::string& where() const;

 private:
  struct Impl;
  explicit ChatTemplate(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace attune
