#include "ops/matmul_limit.h"

#include <omp.h>
#include <dnnl.hpp>

#include <algorithm>
#include <chrono>
#include <vector>

namespace attune {
namespace {

struct Shape {
  dnnl::memory::dim m, n, k;
};

// Square and like a decoder's: hidden 576 to 2048, a few hundred to a few thousand rows.
constexpr Shape kShapes[] = {
    {2048, 1536, 576}, {2048, 576, 1536}, {2048, 576, 576}, {1024, 1024, 1024}, {2048, 2048, 2048}};

double BestRate(dnnl::engine& engine, dnnl::stream& stream, const Shape& s, dnnl::memory::data_type type) {
  using Tag = dnnl::memory::format_tag;
  const dnnl::memory::desc a_desc({s.m, s.k}, type, Tag::ab), c_desc({s.m, s.n}, dnnl::memory::data_type::f32, Tag::ab);
  const dnnl::memory::desc any_b({s.k, s.n}, type, Tag::any);
  const dnnl::matmul::primitive_desc description(dnnl::matmul::desc(a_desc, any_b, c_desc), engine);
  dnnl::memory a(a_desc, engine), b(description.weights_desc(), engine), c(c_desc, engine);
  for (const dnnl::memory* m : {&a, &b, &c}) {
    std::fill_n(static_cast<unsigned char*>(m->get_data_handle()), m->get_desc().get_size(), 0);
  }
  const dnnl::matmul product(description);
  double best = 0;
  for (int run = 0; run < 8; ++run) {
    const auto begin = std::chrono::steady_clock::now();
    product.execute(stream, {{DNNL_ARG_SRC, a}, {DNNL_ARG_WEIGHTS, b}, {DNNL_ARG_DST, c}});
    stream.wait();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    best = std::max(best, 2.0 * static_cast<double>(s.m * s.n * s.k) / seconds);
  }
  return best;
}

}  // namespace

double MeasureMatmulLimit(DType dtype, int threads) {
  const int before = omp_get_max_threads();
  omp_set_num_threads(threads);
  dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  const auto type = dtype == DType::kBF16 ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32;
  std::vector<double> rates;
  for (const Shape& shape : kShapes) rates.push_back(BestRate(engine, stream, shape, type));
  omp_set_num_threads(before);
  std::sort(rates.begin(), rates.end());
  return rates[rates.size() / 2];
}

}  // namespace attune
