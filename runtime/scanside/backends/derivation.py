"""What is known of derived graphs without deriving one: with a kept graph no rewrite is loaded."""

from __future__ import annotations

from typing import Final

__all__ = ["INTEGER_PRODUCT", "RESULTS_VERSION", "REWRITES_VERSION"]

REWRITES_VERSION: Final = "3"
"""Raised with every change of what `rewrites.derive` makes: graphs kept from before are not used
then."""

RESULTS_VERSION: Final = "1"
"""Raised with every change that changes what the optimised graph computes by more than the last
bits: outputs that were recorded with another one are not compared."""

INTEGER_PRODUCT: Final = "integer-product"
"""Name of the rewrite that makes the classifier's outputs independent of the batch."""
