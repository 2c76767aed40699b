"""Prints the means that src/quant/bnb4_test.cc expects: torch 2.15.0, AVX2, one thread."""
import torch

torch.set_num_threads(1)
print(torch.__version__, torch.backends.cpu.get_cpu_capability())
for n in (1, 3, 7, 8, 31, 100, 257, 599, 1000, 4097, 30001):
    x = ((torch.arange(n) * 7919) % 1009).float() / 1009
    print(f"{{{n}, {x.mean().item().hex()}f}},", end=" ")
