// The kernels of the small ops, all as one translation unit: reading Highway's headers for its two targets takes three
// seconds and a half, and compiling one of these kernels less than that.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ops/cpu/small_kernels.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ops/cpu/dora-inl.h"
#include "ops/cpu/dropout-inl.h"
#include "ops/cpu/embedding_noise-inl.h"
#include "ops/cpu/loss-inl.h"
#include "ops/cpu/norm-inl.h"
#include "ops/cpu/optimizer-inl.h"
#include "ops/cpu/optimizer_adafactor-inl.h"
#include "ops/cpu/pointwise-inl.h"
