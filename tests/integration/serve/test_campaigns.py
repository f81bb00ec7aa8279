"""Short forms of `make fuzz` and `make soak`, and what they would say of a server that is wrong."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanside.serve import wire
from scanside.serve.codes import Kind
from serve_fuzz import Target, by_rules, hostile, sound_messages
from serve_soak import soak


def chance(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - chance, not a secret


@pytest.fixture(scope="module")
def target() -> Target:
    return Target()


def test_hostile_messages_by_rules() -> None:
    found = by_rules(20_000, seed=11)
    assert found["passed"]
    counts = found["counts"]
    # They reach what lies behind the parser, and are refused before it.
    assert min(counts["answered"], counts["refused"], counts["dropped"]) > 100


MESSAGES = st.lists(
    st.one_of(
        st.binary(max_size=120),
        st.builds(
            lambda kind, number, body, payload, claimed: (
                wire.HEADER.pack(wire.MAGIC, kind, len(body), claimed or len(payload), number)
                + body + payload
            ),
            st.one_of(st.sampled_from(list(Kind)), st.integers(0, 2**16 - 1)),
            st.one_of(st.integers(0, 3), st.integers(0, 2**64 - 1)),
            st.binary(max_size=110),
            st.binary(max_size=200),
            st.one_of(st.none(), st.integers(0, 2**32 - 1)),
        ),
        st.integers(0, 2**32).map(lambda seed: b"".join(sound_messages(chance(seed)))),
    ),
    max_size=6,
)  # fmt: skip


@settings(max_examples=300)
@given(st.integers(0, 255), MESSAGES)
def test_hostile_messages_by_hypothesis(target: Target, mode: int, messages: list[bytes]) -> None:
    assert target.converse(bytes([mode]) + b"".join(messages)) >= 1
    assert target.service.counters.stats().in_flight == 0


def test_the_fuzzer_notices_what_the_protocol_does_not_allow(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that forgets a request, and one that says something after a fatal error."""
    rng = chance(5)
    conversation = bytes([1]) + sound_messages(rng)[1] + sound_messages(rng)[2]
    target.converse(conversation)
    with monkeypatch.context() as patch:
        patch.setattr("scanside.serve.ledger.Ledger.answer", lambda *_: None)
        patch.setattr("scanside.serve.ledger.Ledger.wait", lambda *_: None)
        patch.setattr("scanside.serve.ledger.Ledger.close", lambda *_: True)
        with pytest.raises(AssertionError, match="in flight|accounted"):
            Target().converse(conversation)


def test_a_conversation_is_the_same_for_the_same_seed() -> None:
    assert hostile(chance(3)) == hostile(chance(3))


@pytest.mark.slow
def test_clients_and_server_are_killed_and_nothing_is_lost_silently() -> None:
    found = soak("null", requests=24_000, kills_every=0.15, seed=3)
    assert found["passed"], found
    assert found["server_kills"] + found["client_kills"] > 0
    assert found["answered"] > 20_000
