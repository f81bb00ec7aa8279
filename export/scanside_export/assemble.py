"""A bundle from its parts: models, goldens, card, licence, manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from scanside.contract import (
    AuxiliaryFile,
    Batch,
    Golden,
    InputContract,
    License,
    Manifest,
    ModelFile,
    Parity,
    Provenance,
    Role,
    Thresholds,
)
from scanside.publish import facts
from scanside_export.card import model_card
from scanside_export.golden import FP32_TOLERANCE
from scanside_export.graphspec import OPSET

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Description", "Exported", "WeightsLicense", "assemble"]

GOLDEN: Final = "golden.npz"
CARD: Final = "MODEL_CARD.md"
LICENSE: Final = "LICENSE-WEIGHTS.txt"


class Exported(NamedTuple):
    """One exported model.

    Attributes
    ----------
    content
        The ONNX file.
    parity
        How it compares with the Keras model.
    """

    content: bytes
    parity: Parity


class WeightsLicense(NamedTuple):
    """The licence of the weights: its name, a notice of a sentence, and its text."""

    name: str
    notice: str
    text: bytes


class Description(NamedTuple):
    """What the makers say of a bundle.

    Attributes
    ----------
    name, version, description
        Of the bundle.
    thresholds
        Where the pipeline decides, and how that was chosen.
    license
        Of the weights.
    metrics
        Figures with the split that they come from; empty where nothing was measured.
    card
        The model card; none to have it written from the other facts.
    batch
        What engines of it are built for.
    """

    name: str
    version: str
    description: str
    thresholds: Thresholds
    license: WeightsLicense
    metrics: Mapping[str, Any]
    card: bytes | None
    batch: Batch = Batch()


def assemble(
    models: Mapping[Role, Exported],
    golden: bytes,
    said: Description,
    source: Provenance,
) -> tuple[Manifest, dict[str, bytes]]:
    """Put a bundle together in memory.

    Parameters
    ----------
    models
        Both models.
    golden
        Content of ``golden.npz``.
    said
        What the makers say of it.
    source
        Where it comes from.

    Returns
    -------
    manifest : Manifest
        What the bundle declares.
    files : dict of str to bytes
        Content by file name, as `scanside.bundle.write_bundle` takes it.
    """
    files = {f"{role}.fp32.onnx": model.content for role, model in models.items()}
    files |= {GOLDEN: golden, LICENSE: said.license.text, CARD: said.card or b"pending"}
    manifest = Manifest(
        name=said.name,
        version=said.version,
        description=said.description,
        input=InputContract(),
        thresholds=said.thresholds,
        default_precision="fp32",
        models={
            role: {
                "fp32": ModelFile(
                    **facts(f"{role}.fp32.onnx", model.content), opset=OPSET, parity=model.parity
                )
            }
            for role, model in models.items()
        },
        golden=Golden(**facts(GOLDEN, files[GOLDEN]), tolerances={"fp32": FP32_TOLERANCE}),
        card=AuxiliaryFile(**facts(CARD, files[CARD])),
        license=License(
            name=said.license.name,
            notice=said.license.notice,
            text=AuxiliaryFile(**facts(LICENSE, files[LICENSE])),
        ),
        provenance=source,
        metrics=dict(said.metrics),
        batch=said.batch,
    )
    if said.card is None:
        files[CARD] = model_card(manifest).encode()
        card = AuxiliaryFile(**facts(CARD, files[CARD]))
        manifest = msgspec.structs.replace(manifest, card=card)
    return manifest, files
