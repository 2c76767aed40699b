#include "models/dora.h"

namespace attune {
namespace {

// The layer as its direction has it: base and adapter, without bias and magnitude.
Linear DirectionOf(const Linear& layer) {
  Linear direction = layer;
  direction.bias = direction.dbias = {};
  direction.adapter.dora = {};
  return direction;
}

Linear BaseOf(const Linear& layer) {
  Linear base = layer;
  base.bias = base.dbias = {};
  base.adapter = {};
  return base;
}

Matrix RoomFor(DeviceAddress room, const Matrix& like, DType dtype) {
  return DenseMatrix(room, dtype, like.rows, like.cols);
}

// What is left of x where the mask takes drop(x) away: x - drop(x).
SelectScale Rest(const Matrix& out, const Matrix& x, const KeepMask& mask) {
  return {out, x, mask.bits, 1.0f - mask.scale, 1.0f, {}};
}

// u from drop(x), which lies in context.dora.in afterwards where there is a mask.
KeepMask Direction(const LinearContext& context, const Linear& layer, const Matrix& x, const Matrix& low,
                   const Matrix& direction) {
  const KeepMask mask = DrawInputMask(context, layer, x);
  Linear plain = DirectionOf(layer);
  plain.adapter.dropout = 0;
  Matrix input = x;
  if (mask.bits) {
    input = RoomFor(context.dora.in, x, x.dtype);
    context.device.Run(SelectScale{input, x, mask.bits, mask.scale, 0.0f, {}});
  }
  LinearForward(context, plain, input, direction, {}, low);
  return mask;
}

}  // namespace

void DoraDirection(const LinearContext& context, const Linear& layer, const Matrix& x, const Matrix& low,
                   const Matrix& direction) {
  Direction(context, layer, x, low, direction);
}

void DoraForward(const LinearContext& context, const Linear& layer, const Matrix& x, const Matrix& y,
                 const Matrix& start, const Matrix& low, const Matrix& direction) {
  const KeepMask mask = Direction(context, layer, x, low, direction);
  Matrix rest = start;
  if (mask.bits) {
    const Matrix input = RoomFor(context.dora.in, x, x.dtype);
    context.device.Run(Rest(input, x, mask));
    LinearForward(context, BaseOf(layer), input, y, start, {});
    rest = y;
  }
  context.device.Run(ScaleColumns{y, direction, layer.adapter.dora.factor, layer.bias, rest}, "dora scale");
}

void DoraBackward(const LinearContext& context, const Linear& layer, const Matrix& x, const Matrix& dy,
                  const Matrix& dx, const Matrix& start, const Matrix& low, const Matrix& dlow,
                  const Matrix& direction) {
  const LinearDora& dora = layer.adapter.dora;
  context.device.Run(ColumnProducts{dora.dmagnitude, dy, direction, dora.norm}, "dora dm");
  if (layer.dbias) context.device.Run(SumRows{layer.dbias, dy});
  const Matrix scaled = RoomFor(context.dora.out, dy, dy.dtype);
  context.device.Run(ScaleColumns{scaled, dy, dora.factor, {}, {}}, "dora scale");
  Linear plain = DirectionOf(layer);
  const KeepMask mask = DrawInputMask(context, layer, x);
  if (!mask.bits) return LinearBackward(context, plain, x, scaled, dx, start, low, dlow);
  plain.adapter.dropout = 0;
  const Matrix input = RoomFor(context.dora.in, x, x.dtype);
  context.device.Run(SelectScale{input, x, mask.bits, mask.scale, 0.0f, {}});
  // The gradient of the dropped input takes its place: dA has been computed before it is written.
  const Matrix dinput = RoomFor(context.dora.in, x, DType::kF32),
               through_base = RoomFor(context.dora.in2, x, DType::kF32);
  LinearBackward(context, plain, input, scaled, dx ? dinput : Matrix{}, {}, low, dlow);
  if (!dx) return;
  LinearBackward(context, BaseOf(layer), x, dy, through_base, {}, {}, {});
  SelectScale rest = Rest(dx, through_base, mask);
  rest.start = start;
  context.device.Run(rest);
  context.device.Run(SelectScale{dx, dinput, mask.bits, mask.scale, 0.0f, dx});
}

void RefreshDora(Device& device, const Linear& layer, DeviceAddress room) {
  const LinearAdapter& adapter = layer.adapter;
  const int64_t rank = adapter.a.rows, out = adapter.b_transposed.cols;
  const Matrix cross = DenseMatrix(room, DType::kF32, rank, out);
  const Matrix gram = DenseMatrix(room.Plus(AlignedBytes(rank * out * 4)), DType::kF32, rank, rank);
  const LinearContext context{device, {}, {}, {}};
  LinearForward(context, BaseOf(layer), adapter.a, cross, {}, {});  // A W^T
  Gemm squares;
  squares.c = gram;
  squares.a = squares.b = adapter.a;
  squares.b_transposed = true;
  device.Run(squares, "dora norm");
  const LinearDora& d = adapter.dora;
  device.Run(DoraFactors{d.norm, d.factor, d.magnitude, d.squares, cross, gram, adapter.b_transposed, adapter.scale});
}

int64_t DoraNormRoomBytes(int64_t rank, int64_t out) {
  return AlignedBytes(rank * out * 4) + AlignedBytes(rank * rank * 4);
}

}  // namespace attune
