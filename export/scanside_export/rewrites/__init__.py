"""Rewrites of an ONNX graph: each a pure function from a model to a model."""
