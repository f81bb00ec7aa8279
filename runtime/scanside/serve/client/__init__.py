"""A client of the embedding protocol, for scripts: what the C library does, in Python.

Examples
--------
>>> from scanside.serve.client import spawn
>>> with spawn() as client:
...     answer = client.infer(pixels)  # uint8 [H, W, 3]: pre-contrast, FLAIR, post-contrast
>>> answer.tumor, answer.area_px, answer.mask.shape
"""

from scanside.serve.client.answer import Answer, LostError, RemoteError
from scanside.serve.client.opening import connect, spawn
from scanside.serve.client.session import Client

__all__ = ["Answer", "Client", "LostError", "RemoteError", "connect", "spawn"]
