"""What comes back through the server is what the pipeline gives, on every transport."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import toy
from scanside import Pipeline, Window, open_bundle
from scanside.errors import UsageError
from scanside.serve.client import Client, RemoteError, connect, spawn
from scanside.serve.codes import Cause, HelloFlag, MaskForm
from scanside.serve.wire import text
from serving import frames, listening

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUIET: dict[str, Any] = {"stderr": subprocess.DEVNULL, "timeout": 60.0}


@pytest.fixture(scope="module", params=["socket pair", "socket pair, no memory", "pipes"])
def client(toy_path: Path, request: pytest.FixtureRequest) -> Iterator[Client]:
    """One server for each transport, on the toy bundle."""
    settings: dict[str, Any] = {"pipes": True} if request.param == "pipes" else {}
    if request.param == "socket pair, no memory":
        settings["slots"] = 0
    options = ("--bundle", str(toy_path), "--backend", "cpu")
    with spawn(*options, **QUIET, **settings) as made:
        yield made


@pytest.mark.parametrize("form", list(MaskForm))
@pytest.mark.parametrize(
    ("pixels", "asked"),
    [
        (toy.lesion_slice(0), {}),
        (toy.lesion_slice(1, lesion=False), {}),
        (toy.lesion_slice(2, side=200), {"spacing": (0.5, 2.0)}),
        (toy.lesion_slice(3, side=480).astype(np.uint16) * 13 + 57, {"window": (57, 3372)}),
        (toy.lesion_slice(4).astype(np.float32) / 255, {"window": (0, 1)}),
        (toy.lesion_slice(5)[..., 1], {"fill": True}),
    ],
    ids=["lesion", "none", "other grid", "16 bit", "float", "grey"],
)
def test_an_answer_is_the_pipelines(
    client: Client, toy_pipeline: Pipeline, pixels: np.ndarray, asked: dict[str, Any],
    form: MaskForm,
) -> None:  # fmt: skip
    window = Window(*asked["window"]) if "window" in asked else None
    spacing = asked.get("spacing", (1, 1))
    wanted = toy_pipeline.analyse(
        pixels, window=window, fill=asked.get("fill", False), aspect=spacing[0] / spacing[1]
    )
    found = client.infer(pixels, mask=form, **asked)
    assert (found.status, found.tumor, found.segmented) == wanted[:1] + wanted[3:5]
    assert found.tumor_probability == wanted.tumor_probability
    assert found.filled == bool(wanted.filled)
    assert not found.made_up
    region = wanted.region
    if region is None:
        assert (found.mask, found.area_px, found.box) == (None, None, None)
        return
    assert (found.area_px, found.components, found.box) == region[1:]
    if form is MaskForm.NONE:
        assert found.mask is None
    else:
        np.testing.assert_array_equal(found.mask, region.mask)
    spacing = asked.get("spacing")
    assert found.area_mm2 == (None if spacing is None else region.area * spacing[0] * spacing[1])
    assert found.timings_us["total"] >= found.timings_us["classify"] > 0


@pytest.mark.parametrize(
    ("pixels", "asked", "reason"),
    [
        (toy.lesion_slice(0)[..., 1], {}, "--fill-missing"),
        (toy.lesion_slice(0).astype(np.uint16), {}, "window"),
        (toy.lesion_slice(0), {"window": (0, 100)}, "8-bit"),
        (np.full((64, 64, 3), np.nan, np.float32), {"window": (0, 1)}, "NaN"),
        (np.zeros((8, 64, 3), np.uint8), {}, "32 to 4096"),
    ],
)
def test_an_image_that_is_not_accepted_is_rejected_with_its_reason(
    client: Client, pixels: np.ndarray, asked: dict[str, Any], reason: str
) -> None:
    answer = client.infer(pixels, **asked)
    assert answer.status == "rejected"
    assert (answer.tumor, answer.mask, answer.tumor_probability) == (None, None, None)
    assert answer.reason is not None
    assert reason in answer.reason


def test_hello_says_what_answers(client: Client, toy_path: Path) -> None:
    hello, bundle = client.hello, open_bundle(toy_path)
    assert hello.bundle_sha256.hex() == bundle.manifest_sha256
    assert (text(hello.backend), text(hello.precision)) == ("cpu", "fp32")
    assert (text(hello.bundle), text(hello.license)) == (bundle.label, "none")
    assert (hello.gate, hello.decision, hello.mask) == (toy.GATE, toy.DECISION, toy.MASK)
    flags = HelloFlag(hello.flags)
    assert HelloFlag.SELF_TEST_PASSED in flags
    assert not flags & (HelloFlag.NULL_BACKEND | HelloFlag.SELF_TEST_SKIPPED | HelloFlag.STREAMING)
    assert b"Toy weights." in client.described


def test_counters_add_up(client: Client) -> None:
    client.infer(toy.lesion_slice(0))
    client.ping()
    stats = client.stats()
    assert stats.accepted == stats.answered + stats.failed + stats.dropped + stats.in_flight
    assert stats.answered > stats.rejected >= 0
    assert (stats.clients, stats.restarts, stats.in_flight, stats.dropped) == (1, 0, 0, 0)
    assert stats.rss_bytes > 10_000_000


def test_many_in_flight_come_back_in_order_where_that_was_asked(toy_path: Path) -> None:
    pixels = [toy.lesion_slice(n, lesion=n % 3 == 0) for n in range(24)]
    options = ("--bundle", str(toy_path), "--backend", "cpu", "--streaming")
    with spawn(*options, ordered=True, **QUIET) as client:
        assert client.hello.flags & HelloFlag.STREAMING
        numbers = [client.submit(image) for image in pixels]
        answers = [client.wait() for _ in pixels]
        assert [answer.number for answer in answers] == numbers
        assert [answer.tumor for answer in answers] == [n % 3 == 0 for n in range(24)]
        client.drain()
        assert client.close() == 0


def test_what_is_too_much_is_refused_and_the_rest_is_answered(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with listening(path, "--max-frame", "1"), connect(path) as client:
        with pytest.raises(UsageError, match="--max-frame"):
            client.submit(np.zeros((600, 600, 3), np.uint8))
        assert client.infer(frames(1)[0]).tumor
    with (
        listening(path, "--max-in-flight", "1"),
        connect(path, slots=1, ordered=True) as client,
    ):
        numbers = [client.submit(frame) for frame in frames(200)]
        refused = [number for number in numbers if not _is_answered(client, number)]
        assert client.stats().refused == len(refused) < len(numbers)


def _is_answered(client: Client, number: int) -> bool:
    try:
        return client.wait(number).number == number
    except RemoteError as error:
        return (error.cause, error.number) != (Cause.QUEUE_FULL, number)


def test_the_client_refuses_what_the_protocol_has_no_dtype_for(client: Client) -> None:
    with pytest.raises(UsageError, match="float64"):
        client.submit(np.zeros((64, 64, 3)))
    with pytest.raises(UsageError, match="no request"):
        client.wait()


def test_requests_in_a_file_are_answered_into_a_file(tmp_path: Path) -> None:
    import serving
    from scanside.serve import wire
    from scanside.serve.codes import Kind

    hello = wire.BODIES.client_hello.encode(wire.ClientHello(*wire.VERSION, HelloFlag.ORDERED))
    asked = wire.encode(Kind.HELLO, 1, hello)
    for number in range(2, 12):
        asked += wire.encode(Kind.INFER, number, serving.infer(), len(serving.FRAME))
        asked += serving.FRAME
    (tmp_path / "requests").write_bytes(asked)
    with (tmp_path / "requests").open("rb") as given, (tmp_path / "answers").open("wb") as taken:
        done = subprocess.run(
            [*serving.SERVE, "--backend", "null"], stdin=given, stdout=taken, check=False,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers, numbers = (tmp_path / "answers").read_bytes(), []
    while answers:
        header = wire.decode_header(answers[: wire.HEADER_BYTES])
        numbers.append(header.id)
        answers = answers[wire.HEADER_BYTES + header.body + header.payload :]
    assert numbers == list(range(1, 12))
    assert (tmp_path / "answers").stat().st_size > 10 * 64 * 64


def test_a_clients_slots_keep_within_the_servers_memory(toy_path: Path) -> None:
    """Three would keep it busy; one is all that fits."""
    options = ("--bundle", str(toy_path), "--backend", "null", "--max-frame", "1")
    with spawn(*options, **QUIET, slot_bytes=2**23) as client:
        assert client.hello.queue_depth == 3
        assert client.hello.max_shared_bytes == 2**23
        assert client.infer(toy.lesion_slice(0)).made_up
