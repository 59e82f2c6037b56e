"""Casting with Warp: on GPUs, and on CPUs that Embree's wheels do not serve (Arm). One kernel does all of it."""

from __future__ import annotations

import functools
import threading
from typing import Any

import numpy as np
import torch
import warp as wp
from torch import Tensor

from lie_picard.rendering.buffers import Buffers
from lie_picard.rendering.meshes import warp_kernels
from lie_picard.rendering.meshes.tables import Tables
from lie_picard.rendering.meshes.threads import each

_lock = threading.Lock()


class WarpEngine:
    """Casts at one surface on one device (`caster.Engine`)."""

    def __init__(self, tables: Tables, device: torch.device) -> None:
        with _lock:  # of several surfaces in several threads: Warp begins, and builds its kernels, once
            wp.config.log_level = max(wp.config.log_level, wp.LOG_WARNING)  # else it tells of itself on standard output
            wp.init()
            self._device = wp.device_from_torch(device)
            wp.load_module(warp_kernels, device=self._device)
        self._radius = tables.radius * (1 + 1e-5)
        array: Any = functools.partial(wp.array, device=self._device)
        self._mesh = wp.Mesh(array(tables.vertices, dtype=wp.vec3), array(tables.triangles.reshape(-1), dtype=wp.int32))
        uv = np.zeros((0, 2), np.float32) if tables.uv is None else tables.uv.reshape(-1, 2)
        self._paint = [
            array(tables.normals.reshape(-1, 3), dtype=wp.vec3),
            tables.normals.shape[1] // 3,
            array(tables.colours.reshape(-1, 3), dtype=wp.vec3),
            0 if tables.is_plain else tables.colours.shape[1] // 3,
            array(uv, dtype=wp.vec2),
            array(tables.texture, dtype=wp.int32),
            array(tables.pictures, dtype=wp.int32),
            array(tables.pixels, dtype=wp.uint8),
        ]

    def cast(self, rotations: Tensor, translations: Tensor, rays: Tensor, zoom: Tensor) -> Buffers:
        """`rendering.buffers.Castable.cast`. On a GPU the kernel is queued on torch's stream; nobody waits for it."""
        count, many = len(rotations), len(rays)
        hit = rotations.new_zeros(count, many, dtype=torch.uint8)
        depth, normal = rotations.new_zeros(count, many), rotations.new_zeros(count, 3, many)
        albedo = torch.zeros_like(normal)
        rotations, translations, rays, zoom = (one.contiguous() for one in (rotations, translations, rays, zoom))
        if count and many:
            stream = None
            if self._device.is_cuda:
                stream = wp.stream_from_torch(torch.cuda.current_stream(rotations.device))

            def some(part: slice) -> None:
                given = rotations[part], translations[part], rays, zoom[part]
                into = hit[part], depth[part], normal[part], albedo[part]
                wp.launch(
                    warp_kernels.cast_rays, (len(given[0]), many),
                    [self._mesh.id, self._radius, *self._paint, *map(wp.from_torch, given)],
                    list(map(wp.from_torch, into)), device=self._device, stream=stream, record_tape=False,
                )  # fmt: skip

            if stream is None:  # a launch on the CPU is one thread's
                each(some, [slice(k, k + 1) for k in range(count)], parallel=count > 1)
            else:
                some(slice(0, count))
        return Buffers(hit.view(torch.bool), depth, normal, albedo)
