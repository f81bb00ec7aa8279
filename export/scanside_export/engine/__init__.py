"""Engines of TensorRT and TensorRT-RTX from a bundle's ONNX files.

`run` builds what a bundle needs; the library itself is only ever loaded in a child process
(`worker`), so that whatever happens to it is reported by the parent.
"""
