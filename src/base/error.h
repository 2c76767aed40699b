// The one error type. Library code never prints and never aborts: it throws Error, and only the command line
// turns it into one line on standard error and an exit code.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace attune {

enum class ErrorKind {
  kBadInput,  // the user's file, flag or configuration is wrong: exit code 2
  kFailed,    // the work itself failed (disk full, interrupted, did not converge to a file): exit code 1
};

// what() is one line for the person who meets it: what is wrong, where (file, line, tensor, key), how to mend it.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

// BadInput("{}: tensor \"{}\" has shape {}, expected {}", ...) throws Error{kBadInput}.
template <class... Args>
[[noreturn]] void BadInput(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(ErrorKind::kBadInput, fmt::format(format, std::forward<Args>(args)...));
}

// Failed("cannot write {}: {}", ...) throws Error{kFailed}.
template <class... Args>
[[noreturn]] void Failed(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(ErrorKind::kFailed, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace attune
