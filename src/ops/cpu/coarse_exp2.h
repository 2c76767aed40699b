// 2^f for |f| <= 1/2 as a polynomial, relative error 3e-6: a hundredth of what bf16 keeps. Its coefficients, from f^4
// down, are here for kernels over Highway's vectors and for those over intrinsics, which share no functions.
#pragma once

namespace attune {

inline constexpr float kCoarseExp2[] = {0.009582853f, 0.055906426f, 0.240240991f, 0.693124175f, 1.0f};

}  // namespace attune
