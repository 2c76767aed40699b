#include "ops/matmul_limit.h"

#include <dnnl.hpp>
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <numeric>
#include <vector>

namespace attune {
namespace {

struct Shape {
  dnnl::memory::dim m, n, k;
};

// Square and like a decoder's: hidden 576 to 2048, a few hundred to a few thousand rows.
constexpr Shape kShapes[] = {{2048, 1536, 576}, {2048, 576, 1536}, {2048, 576, 576}, {1024, 1024, 1024}, {2048, 2048, 2048}};

constexpr int kRuns = 8;

double Operations(const Shape& s) { return 2.0 * static_cast<double>(s.m * s.n * s.k); }

// Seconds of each run.
std::vector<double> TimesOf(dnnl::engine& engine, dnnl::stream& stream, const Shape& s, dnnl::memory::data_type type) {
  using Tag = dnnl::memory::format_tag;
  const dnnl::memory::desc a_desc({s.m, s.k}, type, Tag::ab), c_desc({s.m, s.n}, dnnl::memory::data_type::f32, Tag::ab);
  const dnnl::memory::desc any_b({s.k, s.n}, type, Tag::any);
  const dnnl::matmul::primitive_desc description(dnnl::matmul::desc(a_desc, any_b, c_desc), engine);
  dnnl::memory a(a_desc, engine), b(description.weights_desc(), engine), c(c_desc, engine);
  for (const dnnl::memory* m : {&a, &b, &c}) {
    std::fill_n(static_cast<unsigned char*>(m->get_data_handle()), m->get_desc().get_size(), 0);
  }
  const dnnl::matmul product(description);
  std::vector<double> times;
  for (int run = 0; run < kRuns; ++run) {
    const auto begin = std::chrono::steady_clock::now();
    product.execute(stream, {{DNNL_ARG_SRC, a}, {DNNL_ARG_WEIGHTS, b}, {DNNL_ARG_DST, c}});
    stream.wait();
    times.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  return times;
}

}  // namespace

MatmulRate MeasureMatmulRate(DType dtype, int threads) {
  const int before = omp_get_max_threads();
  omp_set_num_threads(threads);
  dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  const auto type = dtype == DType::kBF16 ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32;
  std::vector<double> best;
  double operations = 0, seconds = 0;
  for (const Shape& shape : kShapes) {
    const std::vector<double> times = TimesOf(engine, stream, shape, type);
    best.push_back(Operations(shape) / *std::min_element(times.begin(), times.end()));
    operations += kRuns * Operations(shape);
    seconds += std::accumulate(times.begin(), times.end(), 0.0);
  }
  omp_set_num_threads(before);
  std::sort(best.begin(), best.end());
  return {best[best.size() / 2], operations / seconds};
}

}  // namespace attune
