"""Job types: contracts from type hints, what cannot be one, and the delays between attempts."""

import dataclasses
import enum
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from observatory import JobContext, Observatory, Retry
from observatory.core.contracts import Contract
from observatory.core.errors import ConfigurationError
from observatory.core.instant import MICROSECONDS
from observatory.core.lifecycle import OutcomeKind, Standing, decide


@dataclasses.dataclass
class Address:
    street: str
    zip: str = "00000"


class Item(msgspec.Struct):
    name: str
    count: int = 1


class Node(msgspec.Struct):
    value: int
    children: list["Node"] = []


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


def contract_of(function: Any, **options: Any) -> Contract:
    app = Observatory()
    app.job("work", **options)(function)
    return Contract(app.handlers["work"].job_type.contract)


def pointers(contract: Contract, payload: Any) -> list[str]:
    return [fault.pointer for fault in contract.faults(payload)]


def test_required_and_optional_parameters_become_members() -> None:
    def handler(to: str, count: int = 1, note: str | None = None) -> None: ...

    contract = contract_of(handler)

    assert pointers(contract, {"to": "ann"}) == []
    assert pointers(contract, {"to": "ann", "count": 2, "note": None}) == []
    assert pointers(contract, {"count": 2}) == [""]
    assert pointers(contract, {"to": 1}) == ["/to"]
    assert pointers(contract, {"to": "ann", "count": None}) == ["/count"]
    assert pointers(contract, {"to": "ann", "count": 1.5}) == ["/count"]
    assert pointers(contract, [1]) == [""]


def test_a_member_nobody_asked_for_is_refused() -> None:
    def handler(to: str) -> None: ...

    assert pointers(contract_of(handler), {"to": "ann", "cc": "bob"}) == ["/cc"]


def test_a_handler_with_named_rest_takes_any_member() -> None:
    def handler(to: str, **rest: Any) -> None: ...

    contract = contract_of(handler)

    assert pointers(contract, {"to": "ann", "cc": ["bob"], "n": 1}) == []
    assert pointers(contract, {"cc": "bob"}) == [""]


def test_a_handler_without_parameters_takes_an_empty_object() -> None:
    def handler() -> None: ...

    contract = contract_of(handler)

    assert pointers(contract, {}) == []
    assert pointers(contract, {"n": 1}) == ["/n"]


def test_a_parameter_without_a_hint_takes_anything() -> None:
    def handler(value, more=3): ...  # type: ignore[no-untyped-def]

    contract = contract_of(handler)

    for value in (None, 1, "text", [1], {"a": 1}):
        assert pointers(contract, {"value": value, "more": value}) == []
    assert pointers(contract, {}) == [""]


def test_nested_data_classes_and_structs_are_part_of_the_contract() -> None:
    def handler(address: Address, items: list[Item], tree: Node) -> None: ...

    contract = contract_of(handler)

    good = {
        "address": {"street": "Main"},
        "items": [{"name": "a"}, {"name": "b", "count": 2}],
        "tree": {"value": 1, "children": [{"value": 2}]},
    }
    assert pointers(contract, good) == []
    bad = {
        "address": {"zip": 1, "street": "Main"},
        "items": [{"name": "a"}, {}],
        "tree": {"value": 1, "children": [{"value": "x"}]},
    }
    assert sorted(pointers(contract, bad)) == [
        "/address/zip", "/items/1", "/tree/children/0/value",
    ]  # fmt: skip


def test_constraints_and_choices_are_part_of_the_contract() -> None:
    def handler(
        n: Annotated[int, msgspec.Meta(ge=1, le=5)],
        mode: Literal["fast", "slow"],
        colour: Colour = Colour.RED,
        pairs: dict[str, int] | None = None,
    ) -> None: ...

    contract = contract_of(handler)

    assert pointers(contract, {"n": 5, "mode": "fast", "colour": "blue", "pairs": {"a": 1}}) == []
    bad = {"n": 6, "mode": "odd", "colour": "green", "pairs": {"a": "b"}}
    assert {pointer.split("/")[1] for pointer in pointers(contract, bad)} == set(bad)


def test_the_context_is_given_by_the_system_and_not_by_the_payload() -> None:
    def handler(to: str, ctx: JobContext) -> None: ...

    app = Observatory()
    app.job("work")(handler)

    assert app.handlers["work"].context_parameter == "ctx"
    assert pointers(contract_of(handler), {"to": "ann"}) == []
    assert pointers(contract_of(handler), {"to": "ann", "ctx": 1}) == ["/ctx"]


def test_a_default_that_can_change_is_not_shared_between_runs() -> None:
    def handler(rows: list[int] = [1], names: dict[str, int] = {"a": 1}) -> None: ...  # noqa: B006

    app = Observatory()
    app.job("work")(handler)
    parameters = app.handlers["work"].parameters
    assert parameters is not None

    first, second = [msgspec.convert({}, parameters) for _ in range(2)]
    first.rows.append(2)
    first.names["b"] = 2

    assert (second.rows, second.names) == ([1], {"a": 1})
    assert handler.__defaults__ == ([1], {"a": 1})


numbers = st.floats(-(2**53), 2**53) | st.integers(-9, 9).map(float)


@given(
    st.fixed_dictionaries(
        {"n": st.integers(-5, 20) | numbers},
        optional={
            "name": st.text(max_size=3) | st.integers(),
            "item": st.fixed_dictionaries({}, optional={"name": st.text(), "count": numbers})
            | st.none(),
            "tags": st.lists(st.text(max_size=2) | st.integers(), max_size=3),
            "other": st.none(),
        },
    )
)
def test_what_the_contract_accepts_the_handler_is_given(payload: dict[str, Any]) -> None:
    def handler(
        n: Annotated[int, msgspec.Meta(ge=0)],
        name: str = "x",
        item: Item | None = None,
        tags: list[str] = [],  # noqa: B006
    ) -> None: ...

    app = Observatory()
    app.job("work")(handler)
    registered = app.handlers["work"]
    assert registered.parameters is not None

    contract = Contract(registered.job_type.contract)
    assume(not contract.faults(payload))

    # As the processor does it: a JSON number like 2.0 is an integer to JSON Schema.
    given = msgspec.convert(payload, registered.parameters, strict=False, str_keys=True)
    assert all(getattr(given, name) == payload[name] for name in {"n", "name", "tags"} & {*payload})


def test_a_contract_may_be_given_instead_of_hints() -> None:
    schema = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}

    def handler(**payload: Any) -> None: ...

    contract = contract_of(handler, payload_schema=schema)

    assert pointers(contract, {"n": 1, "more": True}) == []
    assert pointers(contract, {"n": "x"}) == ["/n"]


def test_a_contract_never_fetches_what_it_refers_to() -> None:
    with pytest.raises(ConfigurationError, match="JSON Schema"):
        Contract({"$ref": "https://elsewhere.example/schema.json"})


@pytest.mark.parametrize("schema", [{"type": "nonsense"}, {"minimum": "x"}, {"pattern": "("}])
def test_a_contract_that_is_no_schema_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Contract(schema)


def test_the_faults_told_are_few_and_short_whatever_was_sent() -> None:
    def handler(rows: list[int]) -> None: ...

    contract = contract_of(handler)

    faults = contract.faults({"rows": ["x" * 10_000] * 1000})
    assert len(faults) == 20
    assert all(len(fault.detail) <= 300 for fault in faults)


class Opaque:
    pass


def positional(a: int, /) -> None: ...
def variadic(*args: int) -> None: ...
def opaque(value: Opaque) -> None: ...
def callback(value: "Callable[[int], int]") -> None: ...  # type: ignore[name-defined]  # noqa: F821
def unresolved(value: "NoSuchType") -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize("handler", [positional, variadic, opaque, callback, unresolved])
def test_hints_no_payload_can_meet_are_refused_when_registered(handler: Any) -> None:
    with pytest.raises(ConfigurationError) as refused:
        Observatory().job("work")(handler)

    assert len(str(refused.value)) > 20


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("1work", {}), ("", {"queue": "-q"}), ("a b", {}), ("w" * 129, {}), ("work\n", {}),
        ("work", {"queue": ""}), ("work", {"queue": "a/b"}), ("work", {"queue": "q\n"}),
        ("work", {"max_attempts": 0}), ("work", {"max_attempts": 101}),
        ("work", {"timeout": 0}), ("work", {"timeout": -1.0}), ("work", {"version": 0}), ("work", {"version": 1.5}), ("work", {"version": True}),
        ("work", {"max_attempts": 2.5}),
    ],
)  # fmt: skip
def test_names_and_numbers_that_cannot_be_used_are_refused(
    name: str, options: dict[str, Any]
) -> None:
    with pytest.raises(ConfigurationError):
        Observatory().job(name, **options)(lambda: None)


def test_a_job_type_is_registered_once() -> None:
    app = Observatory()
    app.job("work")(lambda: None)

    with pytest.raises(ConfigurationError, match="twice"):
        app.job("work")(lambda: None)


def test_the_decorator_leaves_the_function_as_it_is() -> None:
    app = Observatory()

    @app.job
    def tidy(n: int) -> int:
        """Tidies up."""
        return n + 1

    @app.job("other", queue="q", max_attempts=7, timeout=1.5, version=2)
    async def other() -> None: ...

    assert tidy(1) == 2
    assert app.handlers["tidy"].job_type.description == "Tidies up."
    assert not app.handlers["tidy"].is_async
    job_type = app.handlers["other"].job_type
    assert (job_type.queue, job_type.max_attempts, job_type.timeout_s) == ("q", 7, 1.5)
    assert (job_type.version, app.handlers["other"].is_async) == (2, True)


def test_a_job_type_survives_being_registered_in_a_store() -> None:
    app = Observatory()

    @app.job("work", retry=Retry(base=2, cap=9, jitter=False))
    def work(address: Address, tree: Node) -> None: ...

    job_type = app.handlers["work"].job_type
    assert msgspec.json.decode(msgspec.json.encode(job_type), type=type(job_type)) == job_type


# Delays


@given(
    base=st.floats(0, 1e7),
    factor=st.floats(1, 1e6),
    cap=st.floats(0, 1e7),
    tries=st.integers(1, 10_000),
    jitter=st.floats(0, 1, exclude_max=True),
    spread=st.booleans(),
)
def test_a_delay_is_never_negative_nor_beyond_its_cap(
    base: float, factor: float, cap: float, tries: int, jitter: float, spread: bool
) -> None:
    retry = Retry(base=base, factor=factor, cap=cap, jitter=spread)

    delay_s = retry.delay_s(tries, jitter)

    assert 0 <= delay_s <= cap
    if not spread:
        assert delay_s <= retry.delay_s(tries + 1, jitter), "it never shrinks"


def test_delays_grow_by_their_factor_up_to_the_cap() -> None:
    retry = Retry(base=1, factor=3, cap=20, jitter=False)

    assert [retry.delay_s(n, 0.5) for n in range(1, 6)] == [1, 3, 9, 20, 20]


def test_jitter_spreads_a_delay_over_all_of_its_range() -> None:
    retry = Retry(base=8, factor=2, cap=60)

    assert [retry.delay_s(2, jitter) for jitter in (0.0, 0.25, 0.5)] == [0, 4, 8]


@pytest.mark.parametrize(
    "options",
    [
        {"base": -1}, {"cap": -0.1}, {"factor": 0.9}, {"base": float("nan")},
        {"cap": float("nan")}, {"factor": float("nan")}, {"cap": float("inf")},
    ],
)  # fmt: skip
def test_a_backoff_that_is_none_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        Retry(**options)


def test_the_longest_backoff_a_job_can_have_still_fits_its_record() -> None:
    retry = Retry(base=1e9, factor=10, cap=1e9, jitter=False)

    decision = decide(OutcomeKind.ERROR, Standing(98, 0, 100), retry, 0.5)

    assert decision.delay_us is not None
    assert decision.delay_us == 10**9 * MICROSECONDS < 2**63
