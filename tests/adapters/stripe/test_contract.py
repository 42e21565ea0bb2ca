"""The contract, both ways: a wrong request is refused, and a wrong answer is found out."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema
import pytest
import stripe

from adapters.stripe import contract
from adapters.stripe.contract_operations import anonymous
from adapters.stripe.contract_schema import Schema
from adapters.stripe.sandbox import server
from adapters.stripe.sandbox.books import Books
from adapters.stripe.sandbox.remote import Remote
from adapters.stripe.sandbox.route import ROUTES
from tests.adapters.stripe.session import one_of_each
from tests.adapters.stripe.told import Json

server.create_app(Books())
OPERATIONS = sorted(ROUTES)
Path = tuple[str | int, ...]
BROKEN: Any = [["not", "this"]]


@pytest.fixture
def objects(sandbox: Remote, client: stripe.StripeClient) -> list[Json]:
    """What a session left behind, events included."""
    return one_of_each(sandbox, client)


def places(value: Any, path: Path = ()) -> Iterator[Path]:
    """Every field, however deep."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield (*path, name)
            yield from places(each, (*path, name))
    if isinstance(value, list):
        for number, each in enumerate(value):
            yield from places(each, (*path, number))


def parent_of(obj: Json, path: Path) -> Any:
    """A copy of the whole, and in it what holds this field."""
    whole = copy.deepcopy(obj)
    inner: Any = whole
    for part in path[:-1]:
        inner = inner[part]
    return whole, inner


def is_free(path: Path) -> bool:
    """Where the contract says nothing: what people put into metadata, and former values."""
    return bool({"metadata", "previous_attributes"} & set(path[:-1]))


# -- answers --------------------------------------------------------------------------------------


def test_every_object_and_event_keeps_the_contract(objects: list[Json]) -> None:
    faults = [fault for obj in objects for fault in contract.response_faults(obj)]

    assert faults == []
    assert len(objects) > 40


def test_breaking_any_field_of_any_object_is_found_out(objects: list[Json]) -> None:
    missed = []
    for obj in newest_of_each_kind(objects):
        for path in places(obj):
            if is_free(path):
                continue
            whole, inner = parent_of(obj, path)
            inner[path[-1]] = BROKEN
            if not contract.response_faults(whole):
                missed.append((obj["object"], path))

    assert missed == []


def test_misspelling_any_field_of_any_object_is_found_out(objects: list[Json]) -> None:
    missed = []
    for obj in newest_of_each_kind(objects):
        for path in places(obj):
            if is_free(path) or not isinstance(path[-1], str):
                continue
            whole, inner = parent_of(obj, path)
            inner[f"{path[-1]}s"] = inner.pop(path[-1])
            if not contract.response_faults(whole):
                missed.append((obj["object"], path))

    assert missed == []


def test_leaving_out_what_is_never_null_is_found_out(objects: list[Json]) -> None:
    for obj in newest_of_each_kind(objects):
        schema = contract.schemas.resolve(contract.response_schema(obj["object"]))
        for name in schema["required"]:
            without = {key: value for key, value in obj.items() if key != name}

            assert contract.response_faults(without), (obj["object"], name)


def test_the_checker_agrees_with_a_checker_of_json_schema(objects: list[Json]) -> None:
    """Ours is quicker and says more, but it must not say anything else."""
    for obj in newest_of_each_kind(objects):
        judge = validator(obj["object"])
        assert judge.is_valid(obj)
        for path in list(places(obj))[:60]:
            if obj["object"] == "event" and path[0] == "data":
                continue  # JSON Schema sees no more of it than an object.
            whole, inner = parent_of(obj, path)
            inner[path[-1]] = BROKEN

            assert judge.is_valid(whole) == (not contract.response_faults(whole)), path


def test_an_answer_must_be_what_the_operation_answers() -> None:
    deleted = {"id": "cus_1", "object": "customer", "deleted": True}

    assert contract.answer_faults("DELETE", "/v1/customers/{id}", deleted) == []
    assert contract.answer_faults("DELETE", "/v1/customers/{id}", {**deleted, "email": None})
    assert contract.answer_faults("GET", "/v1/customers", {"object": "list", "data": []})


def test_check_response_says_what_is_wrong() -> None:
    with pytest.raises(contract.ContractBroken, match=r"customer\.id: missing"):
        contract.check_response({"object": "customer"})
    with pytest.raises(contract.ContractBroken, match="none of Stripe's"):
        contract.check_response({"object": "custommer"})


def test_a_server_that_breaks_the_contract_does_not_get_away_with_it() -> None:
    def misspells(call: Any) -> Json:
        return {**kept(call), "emial": None}

    kept = ROUTES["POST", "/v1/customers"]
    ROUTES["POST", "/v1/customers"] = misspells
    try:
        with (
            pytest.raises(AssertionError, match=r"emial: unknown"),
            server.serving() as remote,
            pytest.raises(stripe.APIError),
        ):
            stripe.StripeClient(
                "sk_test_1", base_addresses={"api": remote.url}, max_network_retries=0
            ).v1.customers.create({})
    finally:
        ROUTES["POST", "/v1/customers"] = kept


# -- requests -------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", OPERATIONS, ids=" ".join)
def test_what_the_sandbox_answers_is_an_operation_of_stripes(operation: tuple[str, str]) -> None:
    assert contract.operation(*operation) is not None


@pytest.mark.parametrize("operation", OPERATIONS, ids=" ".join)
def test_no_parameter_can_be_misspelt(operation: tuple[str, str]) -> None:
    schema = contract.schemas.resolve(contract.request_schema(*operation))
    for name in schema["properties"]:
        with pytest.raises(contract.Unacceptable) as caught:
            contract.read_request(*operation, {f"{name}s_": "1"})

        assert (caught.value.code, caught.value.param) == ("parameter_unknown", f"{name}s_")


@pytest.mark.parametrize("operation", OPERATIONS, ids=" ".join)
def test_no_nested_parameter_can_be_misspelt(operation: tuple[str, str]) -> None:
    schema = contract.schemas.resolve(contract.request_schema(*operation))
    for name, part in schema["properties"].items():
        if not is_closed_object(part):
            continue
        with pytest.raises(contract.Unacceptable) as caught:
            contract.read_request(*operation, {**needed(schema), name: {"misspelt": "1"}})

        assert (caught.value.code, caught.value.param) == (
            "parameter_unknown",
            f"{name}[misspelt]",
        )


@pytest.mark.parametrize("operation", OPERATIONS, ids=" ".join)
def test_what_is_required_is_missed(operation: tuple[str, str]) -> None:
    schema = contract.schemas.resolve(contract.request_schema(*operation))
    for name in schema["required"]:
        others = {key: value for key, value in needed(schema).items() if key != name}
        with pytest.raises(contract.Unacceptable) as caught:
            contract.read_request(*operation, others)

        assert caught.value.code == "parameter_missing"


CREATE = ("POST", "/v1/subscriptions")


@pytest.mark.parametrize(
    ("fields", "words", "param", "code"),
    [
        (
            {"itmes": {"0": {}}, "cusotmer": "c"},
            "Received unknown parameters: itmes, cusotmer",
            "itmes",
            "parameter_unknown",
        ),
        (
            {"items": {"0": {"prise": "p"}}},
            "Received unknown parameter: items[0][prise]",
            "items[0][prise]",
            "parameter_unknown",
        ),
        (
            {"items": {"0": {"quantity": "1.5"}}},
            "Invalid integer: 1.5",
            "items[0][quantity]",
            "parameter_invalid_integer",
        ),
        ({"items": "p"}, "Invalid array", "items", None),
        ({"cancel_at_period_end": "yes"}, "Invalid boolean: yes", "cancel_at_period_end", None),
        (
            {"proration_behavior": "sometimes"},
            "Invalid proration_behavior: must be one of always_invoice, create_prorations, or none",
            "proration_behavior",
            None,
        ),
        ({"customer": {"id": "c"}}, "Invalid string: {'id': 'c'}", "customer", None),
    ],
)
def test_complaints_are_worded_as_stripes(
    fields: Json, words: str, param: str, code: str | None
) -> None:
    with pytest.raises(contract.Unacceptable) as caught:
        contract.read_request(*CREATE, {"customer": "c", **fields})

    assert str(caught.value) == words
    assert caught.value.param == param
    assert code is None or caught.value.code == code


def test_nothing_is_not_a_number() -> None:
    with pytest.raises(contract.Unacceptable, match="You passed an empty string for 'amount'"):
        contract.read_request("POST", "/v1/payment_intents", {"amount": "", "currency": "usd"})


def test_values_come_out_as_what_they_are() -> None:
    fields = {
        "customer": "cus_1",
        "items": {"1": {"price": "p2"}, "0": {"price": "p1", "quantity": "2"}},
        "cancel_at_period_end": "false",
        "metadata": {"1": "one", "b": ""},
        "trial_end": "now",
        "default_tax_rates": "",
    }

    assert contract.read_request(*CREATE, fields) == {
        "customer": "cus_1",
        "items": [{"price": "p1", "quantity": 2}, {"price": "p2"}],
        "cancel_at_period_end": False,
        "metadata": {"1": "one", "b": ""},
        "trial_end": "now",
        "default_tax_rates": "",
    }


def test_all_of_stripes_api_can_be_described() -> None:
    """Not only what we play: the reading of the SDK must not know its way by chance."""
    for operation in contract.operations():
        json.dumps(contract.schemas.whole(contract.request_schema(*operation)))
        contract.answer_schema(*operation)

    assert len(contract.operations()) > 500


# -- what the tests know of schemas ---------------------------------------------------------------


def newest_of_each_kind(objects: list[Json]) -> list[Json]:
    """One object of each kind; of events, one of each type."""
    return list({(obj["object"], obj.get("type")): obj for obj in reversed(objects)}.values())


@cache
def validator(kind: str) -> Any:
    """Somebody else's checker for an object."""
    schema = contract.schemas.whole(contract.response_schema(kind))
    return jsonschema.Draft202012Validator(schema)


def is_closed_object(schema: Schema) -> bool:
    """Whether all that it can hold, beside words, are named fields."""
    choices = [
        contract.schemas.resolve(choice)
        for choice in contract.schemas.resolve(schema).get("anyOf", [schema])
    ]
    nested = [choice for choice in choices if choice.get("type") in ("object", "array")]
    return bool(nested) and all(choice.get("additionalProperties") is False for choice in nested)


def needed(schema: Schema) -> Json:
    """Something for every required parameter."""
    return {name: _something(schema["properties"][name]) for name in schema["required"]}


def _something(schema: Schema) -> Any:
    schema = contract.schemas.resolve(schema)
    if "anyOf" in schema:
        return _something(schema["anyOf"][-1])
    if "enum" in schema:
        return str(schema["enum"][-1])
    if schema["type"] == "array":
        return {"0": _something(schema["items"])}
    if schema["type"] == "object":
        return needed(schema)
    return {"boolean": "true", "string": "a"}.get(schema["type"], "1")


def test_paths_are_compared_without_their_names() -> None:
    assert anonymous("/v1/customers/{customer}/payment_methods/{id}") == (
        "/v1/customers/{}/payment_methods/{}"
    )
