#include "ops/matmul_limit.h"

#include <omp.h>
#include <dnnl.hpp>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <vector>

namespace attune {
namespace {

struct Shape {
  dnnl::memory::dim m, n, k;
};

// Square and like a decoder's: hidden 576 to 2048, a few hundred to a few thousand rows.
constexpr Shape kShapes[] = {
    {2048, 1536, 576}, {2048, 576, 1536}, {2048, 576, 576}, {1024, 1024, 1024}, {2048, 2048, 2048}};
constexpr int kBestOf = 8;
constexpr double kNextFlops = 4e9;  // of one call of Next

// oneDNN takes as many threads as OpenMP would.
class WithThreads {
 public:
  explicit WithThreads(int threads) : before_(omp_get_max_threads()) { omp_set_num_threads(threads); }
  ~WithThreads() { omp_set_num_threads(before_); }

 private:
  int before_;
};

}  // namespace

struct MatmulLimit::State {
  struct Product {
    dnnl::matmul matmul;
    dnnl::memory a, b, c;
    double flops;
  };

  int threads;
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  std::vector<Product> products;
  size_t next = 0;

  Product Make(const Shape& s, dnnl::memory::data_type type) const {
    using Tag = dnnl::memory::format_tag;
    const dnnl::memory::desc a_desc({s.m, s.k}, type, Tag::ab);
    const dnnl::memory::desc c_desc({s.m, s.n}, dnnl::memory::data_type::f32, Tag::ab);
    const dnnl::memory::desc any_b({s.k, s.n}, type, Tag::any);
    const dnnl::matmul::primitive_desc description(dnnl::matmul::desc(a_desc, any_b, c_desc), engine);
    Product p{dnnl::matmul(description), dnnl::memory(a_desc, engine), dnnl::memory(description.weights_desc(), engine),
              dnnl::memory(c_desc, engine), 2.0 * static_cast<double>(s.m * s.n * s.k)};
    for (const dnnl::memory* m : {&p.a, &p.b, &p.c}) std::memset(m->get_data_handle(), 0, m->get_desc().get_size());
    return p;
  }

  double Seconds(const Product& p) {
    const auto begin = std::chrono::steady_clock::now();
    p.matmul.execute(stream, {{DNNL_ARG_SRC, p.a}, {DNNL_ARG_WEIGHTS, p.b}, {DNNL_ARG_DST, p.c}});
    stream.wait();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }
};

MatmulLimit::MatmulLimit(DType dtype, int threads) : state_(new State{threads}) {
  const WithThreads with(threads);
  const auto type = dtype == DType::kBF16 ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32;
  for (const Shape& shape : kShapes) state_->products.push_back(state_->Make(shape, type));
}

MatmulLimit::~MatmulLimit() = default;

double MatmulLimit::Best() {
  const WithThreads with(state_->threads);
  std::vector<double> rates;
  for (const State::Product& p : state_->products) {
    double best = 0;
    for (int run = 0; run < kBestOf; ++run) best = std::max(best, p.flops / state_->Seconds(p));
    rates.push_back(best);
  }
  std::sort(rates.begin(), rates.end());
  return rates[rates.size() / 2];
}

MatmulLimit::Rate MatmulLimit::Next() {
  const WithThreads with(state_->threads);
  const State::Product& p = state_->products[state_->next++ % state_->products.size()];
  state_->Seconds(p);  // brings its operands near
  Rate rate;
  while (rate.flops < kNextFlops) {
    rate.seconds += state_->Seconds(p);
    rate.flops += p.flops;
  }
  return rate;
}

}  // namespace attune
