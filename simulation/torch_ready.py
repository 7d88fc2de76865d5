"""Imported last by the fork server, so that its workers share what torch otherwise loads in each of them."""

from __future__ import annotations

import gc

import torch

# The first optimiser of a process imports torch's compiler, whether it is used or not: 1.7 s and 70 MB.
torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)

# What is there now stays: a worker's collections need not write into pages that it shares.
gc.collect()
gc.freeze()
