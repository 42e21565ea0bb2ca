"""Facts in the column: every type comes back as it was, and a debit stays small."""

from __future__ import annotations

import importlib
import json
import pkgutil
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest
from eventsourcing.utils import TopicError, get_topic
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import domain
from domain.account.usage import Tokens, Usage
from domain.account.usage_facts import Debited
from domain.codec import KINDS, FactMapper, decode_fact, encode_fact
from domain.facts import Aggregate, Fact, Recorded, aggregate_class
from tests.domain.given import NOW, account_with, at, charged, chat, faces, prices

for module in pkgutil.walk_packages(domain.__path__, "domain."):
    importlib.import_module(module.name)


def all_of(kind: type[Any]) -> list[type[Any]]:
    """Every class of the domain below this one."""
    return sorted(
        (
            found
            for sub in kind.__subclasses__()
            for found in (sub, *all_of(sub))
            if found.__module__.startswith("domain.")
        ),
        key=lambda found: found.__qualname__,
    )


FACTS: list[type[Fact]] = all_of(Fact)


@st.composite
def tokens(draw: st.DrawFn) -> Tokens:
    input, output = draw(st.integers(0, 10**9)), draw(st.integers(0, 10**9))
    return Tokens(input, draw(st.integers(0, input)), output, draw(st.integers(0, output)))


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
labels = texts.filter(bool)
moments = st.datetimes(datetime(2020, 1, 1), datetime(2099, 1, 1), timezones=st.just(UTC))
st.register_type_strategy(Tokens, tokens())
st.register_type_strategy(str, texts)
st.register_type_strategy(datetime, moments)
st.register_type_strategy(
    Usage,
    st.builds(
        Usage,
        event_id=labels,
        meter=labels,
        tokens=tokens(),
        occurred_at=st.none() | moments,
        mode=st.sampled_from(["strict", "record"]),
        llm_model=st.none() | labels,
        route=st.sampled_from(["metered", "oauth"]),
        face_id=st.none() | labels,
    ),
)


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Anything that a field of this type may hold."""
    match msgspec.inspect.type_info(kind) if not isinstance(kind, msgspec.inspect.Type) else kind:
        case msgspec.inspect.CustomType(cls=cls) if isinstance(cls, type):
            return st.from_type(cls)
        case msgspec.inspect.StructType(cls=cls) if cls in (Tokens, Usage):
            return st.from_type(cls)
        case msgspec.inspect.StructType(cls=cls, fields=fields):
            return st.builds(cls, **{field.name: values(field.type) for field in fields})
        case msgspec.inspect.UnionType(types=types):
            return st.one_of(*(values(one) for one in types))
        case msgspec.inspect.LiteralType(values=choices):
            return st.sampled_from(choices)
        case msgspec.inspect.DictType(key_type=key, value_type=value):
            return st.dictionaries(values(key), values(value), max_size=3)
        case msgspec.inspect.VarTupleType(item_type=item):
            return st.lists(values(item), max_size=3).map(tuple)
        case msgspec.inspect.TupleType(item_types=items):
            return st.tuples(*(values(item) for item in items))
        case msgspec.inspect.IntType(ge=low, le=high):
            return st.integers(-(2**53) if low is None else low, 2**53 if high is None else high)
        case msgspec.inspect.StrType(pattern=str(pattern)):
            return st.from_regex(pattern, fullmatch=True)
        case msgspec.inspect.StrType(min_length=low):
            return texts if not low else labels
        case msgspec.inspect.DecimalType():
            return st.decimals(0, 10**6, places=6)
        case msgspec.inspect.BoolType():
            return st.booleans()
        case msgspec.inspect.NoneType():
            return st.none()
        case msgspec.inspect.DateTimeType():
            return moments
        case other:
            raise AssertionError(f"no values known for {other}")


def test_there_are_facts() -> None:
    assert {"Debited", "Credited", "UsageVoided"} <= {fact.__name__ for fact in FACTS}


@pytest.mark.parametrize("kind", FACTS, ids=lambda kind: kind.__name__)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_fact_comes_back_as_it_was(kind: type[Fact], data: st.DataObject) -> None:
    fact = data.draw(values(kind))
    topic, state = kind.TOPIC, encode_fact(fact)

    back = decode_fact(topic, state)

    assert back == fact
    assert type(back) is kind
    assert back.recorded_at.tzinfo is UTC
    assert encode_fact(back) == state
    assert b"\x00" not in state
    assert json.loads(state)["at"].endswith("Z")
    assert decode_fact(topic, memoryview(state)) == fact


@pytest.mark.parametrize("kind", FACTS, ids=lambda kind: kind.__name__)
def test_every_fact_belongs_to_an_aggregate_and_is_found_by_its_topic(kind: type[Fact]) -> None:
    assert kind in aggregate_class(kind).facts
    assert KINDS[kind.__name__] is kind
    assert get_topic(kind) == kind.TOPIC


@pytest.mark.parametrize("kind", all_of(Aggregate), ids=lambda kind: kind.__name__)
def test_a_new_aggregate_has_a_snapshot_and_an_independent_clone(kind: type[Aggregate]) -> None:
    new = kind(UUID(int=7))

    assert msgspec.json.decode(new.snapshot(), type=kind) == new
    twin = new.clone()
    twin.pending.append(None)  # type: ignore[arg-type]
    assert (twin.id, new.pending) == (new.id, [])


def test_the_librarys_mapper_carries_facts_at_their_places() -> None:
    mapper, account = FactMapper(), account_with(1_000_000)
    account.charge(chat(input=5), faces(), prices(), at())
    [recorded] = account.collect_events()

    stored = mapper.to_stored_event(recorded)

    assert (stored.originator_id, stored.originator_version) == (account.id, account.version)
    assert stored.topic == "domain:Debited"
    assert mapper.to_domain_event(stored) == recorded


def test_what_is_not_a_fact_cannot_be_read() -> None:
    with pytest.raises(TopicError):
        decode_fact("domain:Invented", b"{}")
    with pytest.raises(msgspec.DecodeError):
        decode_fact("domain:Debited", b"{}")


def test_unknown_fields_of_a_later_version_are_passed_over() -> None:
    [debit] = charged(account_with(1_000_000), chat(input=5))
    later = encode_fact(debit)[:-1] + b',"added_later":1}'

    assert decode_fact(Debited.TOPIC, later) == debit


def test_a_fact_is_known_by_its_name_wherever_it_is_written() -> None:
    [debit] = charged(account_with(1_000_000), chat(input=5))

    for topic in ("domain:Debited", "domain.account_facts:Debited"):
        assert decode_fact(topic, encode_fact(debit)) == debit


def test_the_debit_of_a_typical_request_is_under_400_bytes() -> None:
    usage = chat(
        "01979e2a-3b5c-7d8e-9f01-23456789abcd",
        input=12_345,
        output=678,
        provider="openai",
        api_key_id="key_01hzx3k5m7",
        model_username="support-bot",
        occurred_at=NOW,
    )
    account = account_with(20_000_000)

    [debit] = charged(account, usage, book=prices(500), context=at(milliseconds=123.456))

    state = encode_fact(debit)
    assert isinstance(debit, Debited)
    assert debit.rated is not None
    assert len(state) < 400, f"{len(state)} bytes: {state.decode()}"


def test_places_compare_by_stream_version_and_fact() -> None:
    [fact] = charged(account_with(1_000_000), chat(input=5))
    here = Recorded(UUID(int=1), 1, fact)

    assert here == Recorded(UUID(int=1), 1, fact)
    assert here != Recorded(UUID(int=1), 2, fact)
    assert here != Recorded(UUID(int=2), 1, fact)
