"""From a handler's type hints to the JSON Schema 2020-12 of its payload.

msgspec makes the schema. It leaves open how times, durations, decimals and bytes are written, so
that a text which no handler could be given would be accepted, and fail only where it is run; here
the schema is made as strict as the decoding.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec
from msgspec import inspect as types

from observatory.core.errors import ConfigurationError
from observatory.core.form import (
    BASE64,
    DATE,
    DATE_TIME,
    DATE_TIME_LOCAL,
    DATE_TIME_ZONED,
    DECIMAL,
    DURATION,
    TIME_OF_DAY,
    TIME_OF_DAY_LOCAL,
    TIME_OF_DAY_ZONED,
    Form,
    pattern_of,
)

Schema = dict[str, Any]

_WITH_OFFSET: Final = {
    types.DateTimeType: {None: DATE_TIME, True: DATE_TIME_ZONED, False: DATE_TIME_LOCAL},
    types.TimeType: {None: TIME_OF_DAY, True: TIME_OF_DAY_ZONED, False: TIME_OF_DAY_LOCAL},
}
_WRITTEN: Final[dict[type[types.Type], Form]] = {
    types.DateType: DATE,
    types.TimeDeltaType: DURATION,
    types.DecimalType: DECIMAL,
    types.BytesType: BASE64,
    types.ByteArrayType: BASE64,
    types.MemoryViewType: BASE64,
}


def contract_from_struct(parameters: type[msgspec.Struct]) -> Schema:
    """The JSON Schema 2020-12 of a payload, inlined so that it stands alone.

    Raises:
        ConfigurationError: a type hint that JSON Schema cannot express.
    """
    try:
        (schema,), components = msgspec.json.schema_components(
            [parameters], ref_template="#/$defs/{name}"
        )
    except TypeError as error:
        raise ConfigurationError(f"the payload's type hints have no contract: {error}") from error
    _Strictness(components).apply(types.type_info(parameters), schema)
    own = components.pop(parameters.__name__, schema)
    contract: Schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **own}
    contract.pop("title", None)
    if components:
        contract["$defs"] = dict(components)
    return contract


class _Strictness:
    """Walks a type and its schema side by side and adds what the schema leaves open."""

    def __init__(self, components: dict[str, Schema]) -> None:
        self._components = components
        self._done: set[str] = set()

    def apply(self, hint: types.Type, schema: Schema) -> None:
        hint = _bare(hint)
        if "$ref" in schema:
            name = schema["$ref"].removeprefix("#/$defs/")
            if name in self._done:
                return
            self._done.add(name)
            schema = self._components[name]
        if (form := _form(hint)) is not None:
            schema.pop("format", None)
            schema["pattern"] = pattern_of(form)
        for part, place in _parts(hint, schema):
            self.apply(part, place)


def _bare(hint: types.Type) -> types.Type:
    while isinstance(hint, types.Metadata):
        hint = hint.type
    return hint


def _form(hint: types.Type) -> Form | None:
    if isinstance(hint, types.DateTimeType | types.TimeType):
        return _WITH_OFFSET[type(hint)][hint.tz]
    return _WRITTEN.get(type(hint))


def _parts(hint: types.Type, schema: Schema) -> Iterator[tuple[types.Type, Schema]]:
    """The types inside a type, each with its schema."""
    match hint:
        case types.StructType(array_like=True) | types.NamedTupleType():
            yield from zip((f.type for f in hint.fields), schema["prefixItems"], strict=True)
        case types.StructType() | types.TypedDictType() | types.DataclassType():
            for field in hint.fields:
                yield field.type, schema["properties"][field.encode_name]
        case types.TupleType():
            yield from zip(hint.item_types, schema.get("prefixItems", ()), strict=True)
        case types.CollectionType():
            if "items" in schema:
                yield hint.item_type, schema["items"]
        case types.DictType():
            key = _form(_bare(hint.key_type))
            if key is not None:
                schema["propertyNames"] = {"type": "string", "pattern": pattern_of(key)}
            if isinstance(schema.get("additionalProperties"), dict):
                yield hint.value_type, schema["additionalProperties"]
        case types.UnionType():
            yield from zip(_in_order(hint), _choices(schema), strict=True)
        case _:
            pass


def _in_order(union: types.UnionType) -> list[types.Type]:
    """The types of a union as msgspec writes them: objects after the others, null at the end."""
    bare = [_bare(one) for one in union.types]
    structs = [t for t in bare if isinstance(t, types.StructType) and not t.array_like]
    null = [t for t in bare if isinstance(t, types.NoneType)]
    return [t for t in bare if t not in structs and t not in null] + structs + null


def _choices(schema: Schema) -> Iterator[Schema]:
    for choice in schema["anyOf"]:
        if "discriminator" in choice:
            yield from choice["anyOf"]
        else:
            yield choice
