#include "train/optim_args.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace attune::optim_args_test {

TEST(OptimArgs, AreThoseOfSgd) {
  EXPECT_EQ(ParseOptimArgs("", "x"), SgdArguments());
  EXPECT_EQ(ParseOptimArgs("momentum=0.9, dampening=0.5", "x"), (SgdArguments{0.9, 0.5, false}));
  EXPECT_EQ(ParseOptimArgs("momentum=0.9,nesterov=True", "x"), (SgdArguments{0.9, 0, true}));
}

TEST(OptimArgs, ErrorsNameWhatIsWrong) {
  const auto error_of = [](const char* text) {
    try {
      ParseOptimArgs(text, "run.yaml:3: training.optim_args");
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kBadInput);
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_EQ(error_of("momentum=2"),
            "run.yaml:3: training.optim_args: \"momentum=2\": must be a number from 0 to below 1");
  EXPECT_NE(error_of("momentum").find("must be a number"), std::string::npos);
  EXPECT_NE(error_of("momentum=0.9x").find("must be a number"), std::string::npos);
  EXPECT_NE(error_of("rank=4").find("\"rank=4\": known are momentum"), std::string::npos);
  EXPECT_NE(error_of("momentum=0.9,nesterov=maybe").find("true or false"), std::string::npos);
  EXPECT_NE(error_of("nesterov=true").find("needs a momentum"), std::string::npos);
  EXPECT_NE(error_of("momentum=0.9,dampening=0.1,nesterov=true").find("no dampening"), std::string::npos);
}

}  // namespace attune::optim_args_test
