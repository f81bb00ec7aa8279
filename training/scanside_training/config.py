"""The configuration of a training run: what is trained, on which slices, and how.

`scanside_training.config_file` reads it from TOML. Unknown and missing keys are errors; every
default is written out into the result (``training.json``).
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from scanside.preprocess import SIDE

__all__ = [
    "AugmentConfig",
    "ClassifierConfig",
    "ClassifierModelConfig",
    "Config",
    "LossConfig",
    "MachineConfig",
    "OptimizerConfig",
    "Phase",
    "SamplingConfig",
    "SegmenterConfig",
    "SegmenterModelConfig",
    "StopConfig",
]

Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Positive = Annotated[float, Meta(gt=0.0)]
NotNegative = Annotated[float, Meta(ge=0.0)]
Count = Annotated[int, Meta(ge=0)]
Number = Annotated[int, Meta(ge=1)]


class _Part(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every structure here: immutable and strict."""


class ClassifierModelConfig(_Part, frozen=True, kw_only=True):
    """The classifier's architecture.

    Attributes
    ----------
    width
        Factor on the number of filters; 1.0 is ResNet-50.
    bias
        Convolutions with a bias, as ``keras.applications`` weights need.
    input_pool
        2: the model halves the slice before its first convolution: four times cheaper.
    """

    width: Positive = 1.0
    bias: bool = False
    input_pool: Literal[1, 2] = 1


class SegmenterModelConfig(_Part, frozen=True, kw_only=True):
    """The segmenter's architecture.

    Attributes
    ----------
    filters
        Filters by stage; each stage halves the resolution.
    width
        Factor on `filters`.
    stem_stride
        1: the first stage is at full resolution; 2: at half of it, about four times faster.
    attention
        Attention gates on the skip connections.
    """

    filters: Annotated[tuple[Number, ...], Meta(min_length=2, max_length=6)] = (
        16,
        32,
        64,
        128,
        256,
    )
    width: Positive = 1.0
    stem_stride: Literal[1, 2] = 2
    attention: bool = False


class LossConfig(_Part, frozen=True, kw_only=True):
    """The loss on masks: the segmenter's, and the classifier's on its auxiliary mask.

    Attributes
    ----------
    name
        ``dice-cross-entropy``, ``tversky`` or ``focal-tversky``; see `scanside_training.losses`.
    alpha
        Tversky: weight of missed pixels; ``1 - alpha`` weighs false ones.
    gamma
        Focal Tversky: the loss is ``(1 - index) ** (1 / gamma)``.
    per_image
        Overlap of each image, averaged, in place of the overlap of the whole batch.
    auxiliary_weight
        Classifier: weight of the mask's loss beside the label's cross-entropy.
    """

    name: Literal["dice-cross-entropy", "tversky", "focal-tversky"] = "dice-cross-entropy"
    alpha: Share = 0.7
    gamma: Annotated[float, Meta(ge=1.0, le=3.0)] = 4 / 3
    per_image: bool = False
    auxiliary_weight: NotNegative = 1.0


class Phase(_Part, frozen=True, kw_only=True):
    """A stretch of epochs at one resolution (progressive resizing).

    Attributes
    ----------
    side
        Height and width of the slices in pixels, a multiple of 32.
    epochs
        Number of epochs.
    batch
        Slices a step, over all replicas.
    """

    side: Annotated[int, Meta(ge=32, le=SIDE, multiple_of=32)] = SIDE
    epochs: Number
    batch: Number = 16


class SamplingConfig(_Part, frozen=True, kw_only=True):
    """Which slices an epoch shows.

    Attributes
    ----------
    slices_per_epoch
        How many; 0: as many as it takes to show each positive slice once at `positive_share`.
    positive_share
        Share of slices with tumour.
    hard_share
        Share of the negatives drawn from the hardest tenth when last mined; 0: no mining.
    mine_every
        Epochs between two minings.
    phantom_share
        Share of synthetic slices (`scanside_training.phantom`), half of them with a lesion.
    phantoms
        Number of synthetic slices to draw from.
    """

    slices_per_epoch: Count = 0
    positive_share: Annotated[float, Meta(gt=0.0, lt=1.0)] = 0.5
    hard_share: Share = 0.0
    mine_every: Number = 3
    phantom_share: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.0
    phantoms: Count = 400


class AugmentConfig(_Part, frozen=True, kw_only=True):
    """How slices are varied; probabilities are per slice, amounts are uniform up to the value.

    Attributes
    ----------
    flip_horizontal, flip_vertical
        Probabilities.
    affine
        Probability of rotating, scaling and shifting.
    rotation_degrees, scale, shift
        Largest rotation, relative change of size, and shift as a share of the side.
    elastic
        Probability of a smooth random deformation.
    elastic_share
        Its largest displacement as a share of the side.
    intensity
        Probability, per sequence, of a random gain, offset and gamma.
    gain, offset, gamma
        Largest relative gain, offset in grey levels, and log2 of gamma.
    noise
        Probability of Gaussian noise.
    noise_levels
        Its largest standard deviation in grey levels.
    cavity
        Probability that a part of a tumour is darkened like a cyst or necrosis; it stays tumour.
    missing_sequence
        Probability that FLAIR stands in for post-contrast or both others, as in real studies.
    """

    flip_horizontal: Share = 0.5
    flip_vertical: Share = 0.0
    affine: Share = 0.8
    rotation_degrees: NotNegative = 15.0
    scale: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.15
    shift: Annotated[float, Meta(ge=0.0, lt=0.5)] = 0.06
    elastic: Share = 0.3
    elastic_share: Annotated[float, Meta(ge=0.0, le=0.1)] = 0.02
    intensity: Share = 0.5
    gain: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.25
    offset: NotNegative = 12.0
    gamma: NotNegative = 0.4
    noise: Share = 0.2
    noise_levels: NotNegative = 8.0
    cavity: Share = 0.0
    missing_sequence: Share = 0.15


class OptimizerConfig(_Part, frozen=True, kw_only=True):
    """AdamW with a linear warm-up and a cosine decay, and a moving average of the weights.

    Attributes
    ----------
    learning_rate
        At the end of the warm-up.
    final_share
        Learning rate at the end, as a share of it.
    warmup_epochs
        Epochs of linear warm-up.
    weight_decay
        Decoupled decay of the kernels; biases and batch normalisation have none.
    clip_norm
        Largest global norm of a step's gradient.
    ema_decay
        Decay a step of the weights' moving average, which is what is validated and saved.

    References
    ----------
    Loshchilov & Hutter 2019, "Decoupled weight decay regularization", ICLR.
    """

    learning_rate: Positive = 1e-3
    final_share: Share = 0.01
    warmup_epochs: Count = 1
    weight_decay: NotNegative = 0.01
    clip_norm: Positive = 1.0
    ema_decay: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.995


class StopConfig(_Part, frozen=True, kw_only=True):
    """When to stop early.

    Attributes
    ----------
    patience
        Epochs of the last phase without a better validation metric; 0 never stops.
    """

    patience: Count = 0


class MachineConfig(_Part, frozen=True, kw_only=True):
    """What depends on the machine: a resumed run may change it.

    Attributes
    ----------
    threads
        Threads of TensorFlow's operations; 0 leaves the choice to it.
    workers
        Threads that augment.
    ram_mb
        Decoded slices are kept in memory up to this many MB; beyond it they are decoded anew.
    precision
        ``float32``, ``bfloat16`` (mixed; refused where the hardware has none) or ``auto``.
    strategy
        ``single``, ``mirrored`` (the GPUs of this machine) or ``multi-worker`` (``TF_CONFIG``).
    deterministic
        Ops that give the same bits at each run, slower on a GPU.
    tensorboard
        Write TensorBoard logs too.
    """

    threads: Count = 0
    workers: Number = 2
    ram_mb: Count = 2048
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    strategy: Literal["single", "mirrored", "multi-worker"] = "single"
    deterministic: bool = True
    tensorboard: bool = False


class _Training(_Part, frozen=True, kw_only=True):
    """What both tasks have in common; paths are relative to the configuration.

    Attributes
    ----------
    seed
        Of the weights, the sampling and the augmentation.
    data, split
        Folder of the slices and the split's JSON; ``--data`` and ``--split`` override them.
    initial
        Weights to start from (``--initial`` overrides it): a ``.keras`` model of the same
        architecture or, for a classifier with ``width = 1.0`` and ``bias = true``, a local
        ImageNet file of ``keras.applications`` (``.h5``).
    phases
        In order. The last is at 256 pixels, the size of the exported model; only its epochs
        compete for the best.
    """

    seed: Count = 1
    data: str | None = None
    split: str | None = None
    initial: str | None = None
    phases: Annotated[tuple[Phase, ...], Meta(min_length=1)]
    loss: LossConfig = LossConfig()
    sampling: SamplingConfig = SamplingConfig()
    augment: AugmentConfig = AugmentConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    stop: StopConfig = StopConfig()
    machine: MachineConfig = MachineConfig()

    def __post_init__(self) -> None:
        """Refuse a last phase at another size than the exported model's."""
        if self.phases[-1].side != SIDE:
            raise ValueError(f"the last phase must have side = {SIDE}, the exported model's")

    @property
    def epochs(self) -> int:
        """Epochs of all phases."""
        return sum(phase.epochs for phase in self.phases)


class ClassifierConfig(_Training, frozen=True, tag_field="task", tag="classifier", kw_only=True):
    """A run that trains the classifier."""

    task: ClassVar[str] = "classifier"
    model: ClassifierModelConfig = ClassifierModelConfig()


class SegmenterConfig(_Training, frozen=True, tag_field="task", tag="segmenter", kw_only=True):
    """A run that trains the segmenter."""

    task: ClassVar[str] = "segmenter"
    model: SegmenterModelConfig = SegmenterModelConfig()


Config = ClassifierConfig | SegmenterConfig
