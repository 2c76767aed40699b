"""Fixtures of the optimisers, of label smoothing and of group_by_length.

    /opt/interop/bin/python tests/data/optim/generate.py

Made with torch 2.15.0 (CPU) and transformers 5.24.0. Lion is written out in the order of operations of bitsandbytes'
32-bit kernel, which needs no GPU that way.

optim.safetensors, f32:
  SHAPE.initial, SHAPE.gradient (STEPS, r, c)            the same start and gradients for every optimiser
  RUN.SHAPE.weight (len(KEPT), r, c)                     the weight after the steps in KEPT
  RUN.SHAPE.{m, row, col, full}                          states after the last step; of sgd, m is the momentum
  smoothing.logits (n, v), .targets I32, .loss (), .gradient   sum over rows of the smoothed loss, its gradient
RUN is sgd, sgd_decay, sgd_momentum, sgd_nesterov, lion, lion_decay, adafactor, adafactor_decay; SHAPE is e.g. 17x19, a vector is 1x37. The learning
rate of step s (from 1) is LEARNING_RATE * (1 - (s - 1) / STEPS); every gradient is multiplied by SCALE first.

length_groups.json: rows {lengths, update_batch, seed, permutation, order}: get_length_grouped_indices with a generator of
that seed, and the permutation which it drew.
"""

import json
import pathlib

import torch
from safetensors.torch import save_file
from transformers.optimization import Adafactor
from transformers.trainer_pt_utils import LabelSmoother, get_length_grouped_indices

HERE = pathlib.Path(__file__).parent
STEPS, KEPT, LEARNING_RATE, SCALE = 12, (1, 2, 12), 0.01, 0.75
BETAS = (0.9, 0.99)
SHAPES = [(37,), (1, 40), (3, 50), (50, 3), (17, 19)]
DECAY = {"sgd": 0.0, "sgd_decay": 0.1, "sgd_momentum": 0.1, "sgd_nesterov": 0.1, "lion": 0.0, "lion_decay": 0.1, "adafactor": 0.0, "adafactor_decay": 0.1}
MOMENTUM = {"sgd_momentum": {"momentum": 0.9, "dampening": 0.3}, "sgd_nesterov": {"momentum": 0.9, "nesterov": True}}


def name(shape):
    return "x".join(map(str, shape if len(shape) == 2 else (1, *shape)))


def rate(step):
    return LEARNING_RATE * (1 - (step - 1) / STEPS)


def gradients(shape, generator):
    g = torch.randn((STEPS, *shape), generator=generator) * 0.02
    g[3] *= 50  # a spike
    g[5] = 0  # a step without any gradient
    if shape == (17, 19):  # an embedding row that no token uses, and rows of very different size
        g[:, 4] = 0
        g[:, :, 3] = 0
        g *= torch.logspace(-6, 2, 17).unsqueeze(-1)
    return g


def lion(p, g, m, lr, decay):
    if decay > 0:
        p.mul_(1 - lr * decay)
    p.sub_(lr * torch.sign(m * BETAS[0] + (1 - BETAS[0]) * g))
    m.copy_(m * BETAS[1] + (1 - BETAS[1]) * g)


def run(key, decay, start, grads):
    kind = key.split("_")[0]
    p = torch.nn.Parameter(start.clone())
    m = torch.zeros_like(start)
    if kind == "sgd":
        optimizer = torch.optim.SGD([p], lr=1.0, weight_decay=decay, **MOMENTUM.get(key, {}))
    elif kind == "adafactor":
        optimizer = Adafactor([p], lr=1.0, weight_decay=decay, scale_parameter=False, relative_step=False)
    kept = []
    for step in range(1, STEPS + 1):
        g = grads[step - 1] * SCALE
        if kind == "lion":
            lion(p.data, g, m, rate(step), decay)
        else:
            optimizer.param_groups[0]["lr"] = rate(step)
            p.grad = g.clone()
            optimizer.step()
        if step in KEPT:
            kept.append(p.data.clone())
    out = {"weight": torch.stack(kept)}
    if kind == "lion":
        out["m"] = m
    if key in MOMENTUM:
        out["m"] = optimizer.state[p]["momentum_buffer"].clone()
    if kind == "adafactor":
        names = {"exp_avg_sq_row": "row", "exp_avg_sq_col": "col", "exp_avg_sq": "full"}
        out |= {names[key]: value.clone() for key, value in optimizer.state[p].items() if key in names}
    return out


def optimizers(out):
    generator = torch.Generator().manual_seed(1)
    for shape in SHAPES:
        start, grads = torch.randn(shape, generator=generator), gradients(shape, generator)
        out[f"{name(shape)}.initial"], out[f"{name(shape)}.gradient"] = start, grads
        for key, decay in DECAY.items():
            for part, value in run(key, decay, start, grads).items():
                out[f"{key}.{name(shape)}.{part}"] = value


def smoothing(out):
    generator = torch.Generator().manual_seed(2)
    logits = (torch.randn((6, 45), generator=generator) * 3).requires_grad_()
    targets = torch.randint(0, 45, (6,), generator=generator)
    loss = LabelSmoother(epsilon=0.1)({"logits": logits}, targets, num_items_in_batch=1)
    loss.backward()
    out |= {
        "smoothing.logits": logits.detach(),
        "smoothing.targets": targets.int(),
        "smoothing.loss": loss.detach(),
        "smoothing.gradient": logits.grad,
    }


def length_groups():
    rows = []
    generator = torch.Generator().manual_seed(3)
    for count, update_batch in [(1, 1), (7, 2), (7, 100), (50, 3), (64, 16), (130, 1), (300, 1), (120, 8)]:
        lengths = torch.randint(1, 12, (count,), generator=generator).tolist()
        seed = 10 + count
        rows.append(
            {
                "lengths": lengths,
                "update_batch": update_batch,
                "seed": seed,
                "permutation": torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist(),
                "order": get_length_grouped_indices(
                    lengths, update_batch, generator=torch.Generator().manual_seed(seed)
                ),
            }
        )
    (HERE / "length_groups.json").write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n")


if __name__ == "__main__":
    tensors = {}
    optimizers(tensors)
    smoothing(tensors)
    save_file({key: value.contiguous() for key, value in tensors.items()}, str(HERE / "optim.safetensors"))
    length_groups()
