"""From FP32 models to another precision, with everything that the manifest says of it."""

from __future__ import annotations

from collections import Counter
from functools import partial
from importlib import metadata
from typing import TYPE_CHECKING, Final, NamedTuple

import onnx

from scanside.contract import ROLES
from scanside.errors import ParityError
from scanside.evidence import Calibration
from scanside.golden import read_golden
from scanside_calibration.candidate import trial
from scanside_calibration.card import fp16_section, int8_section
from scanside_calibration.recorded import recorded_outputs
from scanside_calibration.search import Recipe, search
from scanside_calibration.sensitivity import Round, analyse, layers, roll_back
from scanside_calibration.tolerance import check_decisions, on_backends, tolerance
from scanside_calibration.writing import Derived

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from scanside.contract import Precision, Role, Tolerance
    from scanside_calibration.bench import Bench, Models, Stage
    from scanside_calibration.guard import Verdict
    from scanside_calibration.int8.methods import Method
    from scanside_calibration.material import CalibrationSet
    from scanside_calibration.report import Record
    from scanside_calibration.sensitivity import Effect, FloatNodes, Layer

__all__ = ["Tools", "derive_fp16", "derive_int8", "named"]

_BATCH: Final = 4
"""Slices that a float model sees at once while its ranges are measured."""

_KINDS: Final = ("sums", "branches")
"""Kinds of activations that may get a method of their own, in this order; see `int8.kinds`. The
others keep the one that is best for all."""

_TOOLS: Final = ("scanside", "numpy", "onnx", "onnxruntime")


class Tools(NamedTuple):
    """What a derivation works with.

    Attributes
    ----------
    bench
        Where candidates are tried.
    material
        The calibration slices.
    record
        Takes what is found.
    stage
        Shows progress.
    """

    bench: Bench
    material: CalibrationSet
    record: Record
    stage: Stage


def derive_int8(
    tools: Tools, methods: Sequence[Method], *, always_analyse: bool = False
) -> Derived:
    """Quantise both models, choose the methods, and hold the result against the guard.

    Parameters
    ----------
    tools
        What to work with.
    methods
        The methods to compare, at least one.
    always_analyse
        Measure every layer's effect though the guard holds.

    Raises
    ------
    ParityError
        If the guard does not hold even with the worst layers in float, or a golden slice is
        decided otherwise.
    BundleError
        If a model can't be quantised.
    """
    from scanside_calibration.int8.check import check_int8

    models = _models(tools.bench)
    recipes = _recipes(tools, models, methods)
    effects = _effects_of(tools, models, recipes)
    if always_analyse:
        effects()
    rounds: list[Round] = []
    tools.record.rounds["int8"] = rounds
    built: Models = {}

    def guard(float_nodes: FloatNodes) -> Verdict:
        built.update({role: recipe.build(float_nodes[role]) for role, recipe in recipes.items()})
        verdict = tools.bench.guard(built, "int8")
        rounds.append(Round(dict(float_nodes), verdict))
        return verdict

    last = roll_back(dict.fromkeys(recipes, frozenset()), guard, effects)[-1]
    for role, content in built.items():
        check_int8(onnx.load_from_string(content), float_nodes=last.float_nodes[role])
    calibration = {
        role: Calibration(
            method=recipe.label,
            slices=len(tools.material),
            patients=len(tools.material.patients),
            images_sha256=tools.material.images_sha256,
            split_sha256=tools.material.split_sha256,
            float_nodes=tuple(sorted(last.float_nodes[role])),
            tools={name: metadata.version(name) for name in _TOOLS},
        )
        for role, recipe in recipes.items()
    }
    section = int8_section(
        calibration, tools.record.trials, tools.bench.evidence(last.verdict), rounds
    )
    golden = read_golden(tools.bench.source).images
    recorded = recorded_outputs(trial(tools.bench.source.manifest, "int8", built), golden)
    return _finished(tools, "int8", dict(built), last.verdict, section)._replace(
        calibration=calibration, recorded=recorded
    )


def derive_fp16(tools: Tools) -> Derived:
    """Convert both models to FP16 and hold the result against the guard.

    Parameters
    ----------
    tools
        What to work with.

    Raises
    ------
    ParityError
        If the guard does not hold, or the models differ too much from FP32.
    BundleError
        If a model can't be converted.
    """
    from scanside_calibration.half.derive import derive_half

    golden = read_golden(tools.bench.source)
    half = {}
    for role, model in _models(tools.bench).items():
        with tools.stage(len(tools.material), f"slices for the {role}'s fp16 certificate") as tell:
            half[role] = derive_half(model, tools.material, golden.images, progress=tell)
    built: Models = {role: _content(each.model) for role, each in half.items()}
    verdict = tools.bench.guard(built, "fp16")
    last = Round({role: frozenset() for role in half}, verdict)
    tools.record.rounds["fp16"] = [last]
    if not verdict.passed:
        failed = [figure for figure in verdict.figures if not figure.passed]
        said = "; ".join(f"{one.name} {one.measured:.4f}, limit {one.limit:g}" for one in failed)
        raise ParityError(
            f"the accuracy guard does not hold in fp16 ({said})",
            remedy="keep fp32; where the loss is acceptable, say how much with --max-drop",
        )
    certificates = {role: each.certificate for role, each in half.items()}
    section = fp16_section(certificates, tools.bench.evidence(verdict), tools.record.rounds["fp16"])
    return _finished(tools, "fp16", built, verdict, section)._replace(half=certificates)


def _models(bench: Bench) -> dict[Role, onnx.ModelProto]:
    return {
        role: named(onnx.load_from_string(bench.source.read_model(role, "fp32"))) for role in ROLES
    }


def named(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give every node a name of its own: layers are told apart, and kept float, by name.

    Parameters
    ----------
    model
        A model, which is changed: ONNX allows nodes without a name, and equal ones.
    """
    taken = Counter(node.name for node in model.graph.node)
    for number, node in enumerate(model.graph.node):
        if not node.name or taken[node.name] > 1:
            node.name = f"{node.name or node.op_type}#{number}"
    return model


def _content(model: onnx.ModelProto) -> bytes:
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _recipes(
    tools: Tools, models: Mapping[Role, onnx.ModelProto], methods: Sequence[Method]
) -> dict[Role, Recipe]:
    """Measure ranges, compare the methods, and take the best of each model."""
    from scanside_calibration.int8.methods import calibrate

    found: dict[Role, list[Recipe]] = {}
    held: dict[Role, dict[str, Mapping[str, float]]] = {}
    for role, model in models.items():
        # Twice the slices: the passes count on, so that the bar does not jump back.
        with tools.stage(2 * len(tools.material), f"slices for the {role}'s ranges") as update:
            ranges = calibrate(
                model,
                lambda: tools.material.batches(_BATCH),
                methods,
                progress=_counted(update, len(tools.material)),
            )
        held[role] = {str(method): ranges[method] for method in methods}
        found[role] = [Recipe(model, method, amax) for method, amax in held[role].items()]

    def corrected(_: Role, recipe: Recipe) -> list[Recipe]:
        return recipe.corrected(tools.material.batches(_BATCH))

    with tools.stage(_most(len(methods)), "recipes") as update:
        recipes, tools.record.trials = search(
            found, lambda built: tools.bench.distances(built, "int8"),
            # Corrected biases may make up for what a kind's own method would gain, or add to it.
            [corrected, *(partial(_varied, kind, held) for kind in _KINDS), corrected],
            update,
        )  # fmt: skip
    return recipes


def _varied(
    kind: str, ranges: Mapping[Role, Mapping[str, Mapping[str, float]]], role: Role, recipe: Recipe
) -> list[Recipe]:
    return recipe.varied(kind, ranges[role])


def _most(methods: int) -> int:
    """Return how many recipes are tried at most: methods, variants by kind, twice corrected."""
    return methods + len(_KINDS) * (methods - 1) + 2


def _counted(update: Callable[[int], None], slices: int) -> Callable[[int, int], None]:
    return lambda number, done: update((number - 1) * slices + done)


def _effects_of(
    tools: Tools, models: Mapping[Role, onnx.ModelProto], recipes: Mapping[Role, Recipe]
) -> Callable[[], Mapping[Role, Sequence[Effect]]]:
    """Return what measures every layer's effect, once."""
    from scanside_calibration.int8.placement import quantisable

    def distance(float_nodes: FloatNodes) -> dict[Role, float]:
        built = {role: recipe.build(float_nodes[role]) for role, recipe in recipes.items()}
        found = tools.bench.distances(built, "int8")
        return {role: each.value for role, each in found.items()}

    def effects() -> Mapping[Role, Sequence[Effect]]:
        if not tools.record.effects:
            tried: dict[Role, tuple[Layer, ...]] = {
                role: layers(model, quantisable(model)) for role, model in models.items()
            }
            with tools.stage(max(map(len, tried.values())), "layers") as update:
                tools.record.effects = analyse(tried, distance, update)
        return tools.record.effects

    return effects


def _finished(
    tools: Tools, precision: Precision, models: Models, verdict: Verdict, section: str
) -> Derived:
    """Measure what is left: golden slices and parity."""
    return Derived(
        precision=precision,
        models=models,
        parity=tools.bench.parity(models, precision),
        calibration={},
        half={},
        guard=tools.bench.evidence(verdict),
        tolerance=_golden_tolerance(tools.bench, precision, models),
        recorded={},
        section=section,
    )


def _golden_tolerance(bench: Bench, precision: Precision, models: Models) -> Tolerance:
    golden = read_golden(bench.source)
    candidate = trial(bench.source.manifest, precision, models)
    outputs = on_backends(candidate, golden, precision)
    check_decisions(golden, outputs, bench.source.manifest.thresholds)
    return tolerance(golden, outputs, precision)
