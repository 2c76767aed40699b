// Two benches that take turns, a tenth of a second each, so that whatever else slows this machine slows both alike and
// their times can be compared. On a host with other tenants nothing else lets them be: its speed halves for tenths of a
// second and for minutes.
#pragma once

#include <string>

namespace attune {

class Turns {
 public:
  // `which`: "first" has the turn to begin with, "second" has not. The turn comes as a byte on
  // standard input and goes as one to descriptor 3. Errors: Error{kBadInput}: another word, or no descriptor 3.
  explicit Turns(const std::string& which);

  // Whether the other one has ended; then the rest goes on without turns.
  bool is_alone() const { return is_alone_; }
  double waited() const { return waited_; }  // seconds, since the start

  // Before each op: gives the turn away where it has lasted, and waits until it is back.
  void Pass();

 private:
  void Wait();

  bool has_turn_, is_alone_ = false;
  double begin_ = 0, waited_ = 0;
};

}  // namespace attune
