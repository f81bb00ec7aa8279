"""``import tensorrt_rtx``: NVIDIA's real bindings, with the fake library below them."""

from __future__ import annotations

import sys

import nvinfer

sys.modules[__name__] = nvinfer.install()
