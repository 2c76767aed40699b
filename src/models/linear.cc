#include "models/linear.h"

#include "models/dora.h"

namespace attune {
namespace {

// dlow = scale dy B; dB^T += low^T dy; dA += dlow^T drop(x). Gives the mask for what follows.
KeepMask LowRankBackward(const LinearContext& context, const Linear& layer, const Matrix& x, const Matrix& dy,
                         const Matrix& low, const Matrix& dlow) {
  const LinearAdapter& adapter = layer.adapter;
  Gemm up;
  up.c = dlow;
  up.a = dy;
  up.b = adapter.b_transposed;
  up.b_transposed = true;
  up.alpha = adapter.scale;
  context.device.Run(up, "lora d(low)");
  Gemm db;
  db.c = db.start = adapter.db_transposed;
  db.a = low.Columns(0, adapter.rank);
  db.a_transposed = true;
  db.b = dy;
  context.device.Run(db, "lora dB");
  Gemm da;
  da.c = da.start = adapter.da;
  da.a = dlow.Columns(0, adapter.rank);
  da.a_transposed = true;
  da.b = x;
  da.b_mask = DrawInputMask(context, layer, x);
  context.device.Run(da, "lora dA");
  return da.b_mask;
}

// low = scale drop(x) A^T.
void LowRankForward(const LinearContext& context, const Linear& layer, const Matrix& x, const Matrix& low) {
  Gemm down;
  down.c = low;
  down.a = x;
  down.a_mask = DrawInputMask(context, layer, x);
  down.b = layer.adapter.a;
  down.b_transposed = true;
  down.alpha = layer.adapter.scale;
  context.device.Run(down, "lora down");
}

}  // namespace

KeepMask DrawInputMask(const LinearContext& context, const Linear& layer, const Matrix& x) {
  if (!context.keys || layer.adapter.dropout <= 0) return {};
  KeepMask mask;
  mask.bits = DenseMatrix(context.mask_bits, DType::kU8, x.rows, MaskRowBytes(x.cols));
  mask.scale = 1.0f / (1.0f - layer.adapter.dropout);
  context.device.Run(DropoutMask{mask.bits, context.keys, layer.adapter.module, layer.adapter.dropout});
  return mask;
}

void LinearForward(const LinearContext& context, const Linear& layer, const Matrix& x, const Matrix& y,
                   const Matrix& start, const Matrix& low, const Matrix& direction) {
  if (layer.adapter.dora.magnitude) return DoraForward(context, layer, x, y, start, low, direction);
  Gemm product;
  product.c = y;
  product.a = x;
  product.b = layer.weight;
  product.b_transposed = true;
  product.start = start ? start : layer.bias;
  if (layer.adapter.rank > 0) {
    LowRankForward(context, layer, x, low);
    product.low_a = low;
    product.low_b = layer.adapter.b_transposed;
  }
  context.device.Run(product, (layer.tag + " forward").c_str());
  if (start && layer.bias) context.device.Run(AddBias{y, layer.bias});
  if (layer.adapter.bias) context.device.Run(AddBias{y, layer.adapter.bias, layer.adapter.scale});
}

void AdapterForward(const LinearContext& context, const Linear& layer, const Matrix& x, const Matrix& low,
                    const Matrix& direction) {
  if (layer.adapter.dora.magnitude) return DoraDirection(context, layer, x, low, direction);
  LowRankForward(context, layer, x, low);
}

void LinearBackward(const LinearContext& context, const Linear& layer, const Matrix& x, const Matrix& dy,
                    const Matrix& dx, const Matrix& start, const Matrix& low, const Matrix& dlow,
                    const Matrix& direction) {
  if (layer.adapter.dora.magnitude) return DoraBackward(context, layer, x, dy, dx, start, low, dlow, direction);
  KeepMask mask;
  if (layer.adapter.rank > 0) mask = LowRankBackward(context, layer, x, dy, low, dlow);
  if (layer.dweight) {
    Gemm dw;
    dw.c = dw.start = layer.dweight;
    dw.a = dy;
    dw.a_transposed = true;
    dw.b = x;
    context.device.Run(dw, (layer.tag + " dW").c_str());
  }
  if (layer.dbias) context.device.Run(SumRows{layer.dbias, dy});
  if (layer.adapter.dbias) context.device.Run(SumRows{layer.adapter.dbias, dy, layer.adapter.scale});
  if (!dx) return;
  Gemm product;
  product.c = dx;
  product.a = dy;
  product.b = layer.weight;
  product.start = start;
  if (layer.adapter.rank > 0) {
    product.low_a = dlow;
    product.low_b = layer.adapter.a;
    product.low_mask = mask;
  }
  context.device.Run(product, (layer.tag + " dx").c_str());
}

}  // namespace attune
