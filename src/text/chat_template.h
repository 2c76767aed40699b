// Chat templates: the subset of Jinja that Hugging Face models use, rendered as transformers renders them
// (sandboxed, trim_blocks and lstrip_blocks on, loop controls, {% generation %}).
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace attune {

struct RenderedChat {
  std::string text;                                       // already carries BOS where the template writes it
  std::vector<std::pair<size_t, size_t>> assistant_spans;  // bytes [start, end) inside {% generation %} blocks
};

class ChatTemplate {
 public:
  // Errors: Error{kBadInput} with line and column. `where` names the file for the error texts.
  static ChatTemplate Parse(std::string source, std::string where);
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;

  // `context`: messages, tools, documents, add_generation_prompt, bos_token, ... and any user variable.
  // Errors: Error{kBadInput}: raise_exception's message verbatim, or what Jinja would have raised.
  RenderedChat Render(const nlohmann::ordered_json& context) const;

  bool HasGenerationBlocks() const;
  const std::string& source() const;

 private:
  struct Impl;
  explicit ChatTemplate(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace attune
