"""Constants and host data on the device that computes, without waiting for it.

A copy from ordinary memory to a GPU waits for all the work that is queued there. Rendering a batch used hundreds of
such small copies: the GPU ran dry at each. Constants are therefore copied once, and new data through pinned memory.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor


def constant(values: Any, like: Tensor) -> Tensor:
    """Numbers (a tuple, or tuples of one length) as a tensor of the device and type of `like`; not to be changed."""
    return _constant(values, like.device, like.dtype)


def moved(tensor: Tensor, like: Tensor) -> Tensor:
    """`tensor.to(like)`; where that is a copy to another device, it is made once for each tensor. Not to be changed."""
    if tensor.device == like.device:
        return tensor.to(like)
    return _moved(tensor, like.device, like.dtype)


def uploaded(tensor: Tensor, device: torch.device | str) -> Tensor:
    """A CPU tensor on a device; a GPU fetches it when it gets there, while the caller goes on."""
    if torch.device(device).type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


@functools.lru_cache(maxsize=256)
def _constant(values: Any, device: torch.device, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):  # whoever asks first: it must serve training too
        return torch.tensor(values, device=device, dtype=dtype)


@functools.lru_cache(maxsize=256)
def _moved(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):
        return tensor.to(device=device, dtype=dtype)
