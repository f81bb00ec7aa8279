"""Where training and evaluation find the atomic write of the runtime."""

from scanside.writers.files import write_atomic

__all__ = ["write_atomic"]
