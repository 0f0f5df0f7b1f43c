"""What changed between two versions of a JSON Schema, and whom it breaks.

Rules of this file (conventions 2.6, design section 4):

1. A change *narrows* what is valid, *widens* it, *replaces* it (both, or nobody can tell), or only
   *annotates*; what it adds beside that, for whoever wants it, *extends*.
2. `consumed` (commands we accept): anything once valid must stay valid, so narrowing breaks.
   `produced` (events and answers we emit): readers of the old contract must keep working, so
   widening breaks. Replacing breaks both. Extending and annotating break nobody.
3. A produced object that is open may gain properties: its readers skip what they do not know.
4. A property taken out breaks both sides, valid or not: what it meant is gone.
5. A keyword this file does not know is taken for one that breaks when it changes. Where two
   schemas may be equal in meaning but it would take a proof, they count as replaced: a false alarm
   costs a look, a missed break costs a user.

It is long because it is one table: a method for each group of keywords, none of which makes sense
without the others.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import combinations
from typing import Any, Final, Literal

from observatory.core.contract_references import Documents, Located, child
from observatory.core.schema_reading import (
    ANNOTATIONS,
    APPLICATORS_IN_PLACE,
    Json,
    Schema,
    as_object,
    disjoint,
    highest,
    is_closed,
    is_never,
    is_plain_reference,
    lowest,
    one_closing_keyword,
    same_shape,
    types_of,
    values_of,
)

Direction = Literal["consumed", "produced"]


class Effect(StrEnum):
    """What a change does to the set of valid values."""

    NARROWED = "narrowed"
    WIDENED = "widened"
    REPLACED = "replaced"
    EXTENDED = "extended"
    ANNOTATED = "annotated"


BREAKS: Final[dict[Direction, frozenset[Effect]]] = {
    "consumed": frozenset({Effect.NARROWED, Effect.REPLACED}),
    "produced": frozenset({Effect.WIDENED, Effect.REPLACED}),
}
"""Rule 2 as a table."""

_OPPOSITE: Final = {Effect.NARROWED: Effect.WIDENED, Effect.WIDENED: Effect.NARROWED}


@dataclass(frozen=True, slots=True)
class Change:
    """One difference: where (JSON Pointer), what it does, and whether it breaks anyone."""

    pointer: str
    effect: Effect
    breaking: bool
    message: str

    def __str__(self) -> str:
        verdict = "breaking" if self.breaking else "compatible"
        return f"{verdict}: {self.pointer or '/'}: {self.message}"


def compare(
    old_schema: Json,
    new_schema: Json,
    direction: Direction,
    *,
    old_documents: Mapping[str, Json] | None = None,
    new_documents: Mapping[str, Json] | None = None,
) -> list[Change]:
    """List every difference between two versions of a schema.

    Args:
        old_schema: what is in use.
        new_schema: what shall replace it.
        direction: whether we accept values of this schema or emit them.
        old_documents: the older documents by URI, so that references out of the schema are
            followed; those within it always are.
        new_documents: the newer ones.

    A reference that cannot be followed counts as the same only where its text is the same.
    """
    comparison = SchemaComparison(
        direction, _with_root(old_schema, old_documents), _with_root(new_schema, new_documents)
    )
    comparison.compare(old_schema, new_schema, At("", _own_uri(old_schema), _own_uri(new_schema)))
    return comparison.changes


def _own_uri(schema: Json) -> str:
    return schema.get("$id", "") if isinstance(schema, dict) else ""  # pyright: ignore


def _with_root(schema: Json, documents: Mapping[str, Json] | None) -> Documents:
    return Documents({**(documents or {}), _own_uri(schema): schema})


LOWER_BOUNDS: Final = ("minLength", "minItems", "minProperties", "minContains")
UPPER_BOUNDS: Final = ("maxLength", "maxItems", "maxProperties", "maxContains", "x-max-bytes")


@dataclass(frozen=True, slots=True)
class At:
    """Where a comparison stands."""

    pointer: str
    old_uri: str
    new_uri: str
    old_closed: bool = False
    """Whether a schema around this one, judging the same object, refuses unknown properties."""
    new_closed: bool = False
    flipped: bool = False
    """Inside ``not``: what narrows here widens the whole."""

    def into(self, *names: str | int) -> "At":
        """A subschema that judges the same value."""
        return replace(self, pointer=child(self.pointer, *names))

    def below(self, *names: str | int) -> "At":
        """A subschema that judges a part of the value."""
        return replace(self.into(*names), old_closed=False, new_closed=False)


@dataclass(slots=True)
class SchemaComparison:
    """Gathers the changes of one comparison; `compare` may be called for several schemas."""

    direction: Direction
    old_documents: Documents
    new_documents: Documents
    changes: list[Change] = field(default_factory=list[Change])
    _seen: set[tuple[str, str, bool, bool, bool]] = field(
        default_factory=set[tuple[str, str, bool, bool, bool]]
    )

    def note(self, at: At, effect: Effect, message: str) -> None:
        """Record a change and judge it."""
        effect = _OPPOSITE.get(effect, effect) if at.flipped else effect
        breaking = effect in BREAKS[self.direction]
        self.changes.append(Change(at.pointer, effect, breaking, message))

    def compare(self, old: Json, new: Json, at: At) -> None:
        """Compare two schemas that judge the same value."""
        if is_plain_reference(old) or is_plain_reference(new):
            # They stand beside the reference and would be left behind.
            self._default(as_object(old), as_object(new), at)
            self._definitions(as_object(old), as_object(new), at)
        old, old_at = self._follow(old, at.old_uri, self.old_documents)
        new, new_at = self._follow(new, at.new_uri, self.new_documents)
        if old_at and new_at and self._met_before(old_at, new_at, at):
            return
        at = replace(
            at,
            old_uri=old_at.document_uri if old_at else at.old_uri,
            new_uri=new_at.document_uri if new_at else at.new_uri,
        )
        old, new = as_object(old), as_object(new)
        if not old and not new:
            return  # both let everything through; an absent subschema ends up here
        if is_never(old) or is_never(new):
            self._compare_with_never(old, new, at)
        else:
            self._compare_keywords(*same_shape(old, new), at)

    def _follow(self, schema: Json, uri: str, documents: Documents) -> tuple[Json, Located | None]:
        """Step through references that stand alone; the rest is compared where it leads."""
        located: Located | None = None
        for _ in range(100):  # a reference to itself judges nothing and must not hang us
            if not is_plain_reference(schema):
                break
            try:
                located = documents.resolve(schema["$ref"], uri)
            except LookupError:
                break
            schema, uri = located.value, located.document_uri
        return schema, located

    def _met_before(self, old: Located, new: Located, at: At) -> bool:
        key = (old.uri, new.uri, at.old_closed, at.new_closed, at.flipped)
        met = key in self._seen
        self._seen.add(key)
        return met

    def _compare_with_never(self, old: Schema, new: Schema, at: At) -> None:
        if not is_never(old):
            self.note(at, Effect.NARROWED, "no value is valid any more")
        elif not is_never(new):
            self.note(at, Effect.WIDENED, "was never valid and now may be")

    def _compare_keywords(self, old: Schema, new: Schema, at: At) -> None:
        for compare_group in _GROUPS:
            compare_group(self, old, new, at)
        for keyword in sorted((old.keys() | new.keys()) - _KNOWN):
            if old.get(keyword, _ABSENT) != new.get(keyword, _ABSENT):
                self.note(
                    at.into(keyword),
                    Effect.REPLACED,
                    f"{keyword} changed, a keyword whose meaning is not known here",
                )

    # ------------------------------------------------------------ single values

    def _types(self, old: Schema, new: Schema, at: At) -> None:
        self._sets(types_of(old), types_of(new), at.into("type"), "type")

    def _values(self, old: Schema, new: Schema, at: At) -> None:
        before, after = values_of(old), values_of(new)
        keyword = "enum" if "enum" in old or "enum" in new else "const"
        at = at.into(keyword)
        if before is None and after is not None:
            self.note(at, Effect.NARROWED, f"only {_listed(after)} valid now")
        elif before is not None and after is None:
            self.note(at, Effect.WIDENED, f"no longer only {_listed(before)} valid")
        elif before is not None and after is not None:
            self._sets(before, after, at, "value")

    def _sets(self, old: frozenset[str], new: frozenset[str], at: At, what: str) -> None:
        if old - new:
            self.note(at, Effect.NARROWED, f"{what} no longer valid: {_listed(old - new)}")
        if new - old:
            self.note(at, Effect.WIDENED, f"{what} newly valid: {_listed(new - old)}")

    def _ranges(self, old: Schema, new: Schema, at: At) -> None:
        self._bound(lowest(old), lowest(new), at.into("minimum"), "the lowest number", 1)
        self._bound(highest(old), highest(new), at.into("maximum"), "the highest number", -1)

    def _sizes(self, old: Schema, new: Schema, at: At) -> None:
        for keyword in LOWER_BOUNDS:
            # contains without minContains asks for one (JSON Schema 2020-12 validation 6.4.5).
            least = 1 if keyword == "minContains" else 0
            self._bound(
                old.get(keyword, least), new.get(keyword, least), at.into(keyword), keyword, 1
            )
        for keyword in UPPER_BOUNDS:
            most = float("inf")
            self._bound(
                old.get(keyword, most), new.get(keyword, most), at.into(keyword), keyword, -1
            )

    def _bound(self, old: Any, new: Any, at: At, what: str, narrower: int) -> None:
        if old == new:
            return
        tighter = (new > old) == (narrower > 0)
        effect = Effect.NARROWED if tighter else Effect.WIDENED
        self.note(at, effect, f"{what} went from {_bound_text(old)} to {_bound_text(new)}")

    def _texts(self, old: Schema, new: Schema, at: At) -> None:
        for keyword in ("pattern", "format"):
            self._present(old, new, keyword, at)

    def _present(self, old: Schema, new: Schema, keyword: str, at: At) -> None:
        """A keyword that narrows by being there and cannot be weighed against another value."""
        if keyword not in old and keyword in new:
            self.note(at.into(keyword), Effect.NARROWED, f"{keyword} added: {new[keyword]}")
        elif keyword in old and keyword not in new:
            self.note(at.into(keyword), Effect.WIDENED, f"{keyword} removed: {old[keyword]}")
        elif old.get(keyword) != new.get(keyword):
            message = f"{keyword} changed from {old[keyword]} to {new[keyword]}"
            self.note(at.into(keyword), Effect.REPLACED, message)

    def _multiples(self, old: Schema, new: Schema, at: At) -> None:
        before, after = old.get("multipleOf"), new.get("multipleOf")
        if before is None or after is None or before == after:
            self._present(old, new, "multipleOf", at)
        elif after % before == 0:
            self.note(at.into("multipleOf"), Effect.NARROWED, f"a multiple of {after} now")
        elif before % after == 0:
            self.note(at.into("multipleOf"), Effect.WIDENED, f"a multiple of {after} will do")
        else:
            self._present(old, new, "multipleOf", at)

    def _uniqueness(self, old: Schema, new: Schema, at: At) -> None:
        before, after = bool(old.get("uniqueItems")), bool(new.get("uniqueItems"))
        if before != after:
            effect = Effect.NARROWED if after else Effect.WIDENED
            self.note(at.into("uniqueItems"), effect, f"items must be unique: {after}".lower())

    def _default(self, old: Schema, new: Schema, at: At) -> None:
        if old.get("default", _ABSENT) == new.get("default", _ABSENT):
            return
        # Who leaves the property out of a command gets another behaviour; an event says all.
        harmless = "default" not in old or self.direction == "produced"
        effect = Effect.EXTENDED if harmless else Effect.REPLACED
        self.note(at.into("default"), effect, "what is meant by leaving it out changed")

    def _annotations(self, old: Schema, new: Schema, at: At) -> None:
        for keyword in sorted(ANNOTATIONS):
            if old.get(keyword, _ABSENT) != new.get(keyword, _ABSENT):
                self.note(at.into(keyword), Effect.ANNOTATED, f"{keyword} changed")

    # ------------------------------------------------------------ objects

    def _required(self, old: Schema, new: Schema, at: At) -> None:
        before, after = set(old.get("required", ())), set(new.get("required", ()))
        for name in sorted(after - before):
            self.note(at.into("required"), Effect.NARROWED, f"{name} is required now")
        for name in sorted(before - after):
            self.note(at.into("required"), Effect.WIDENED, f"{name} is no longer required")

    def _properties(self, old: Schema, new: Schema, at: At) -> None:
        before, after = old.get("properties", {}), new.get("properties", {})
        for name in sorted(before.keys() | after.keys()):
            place = at.below("properties", name)
            if name not in after:
                self.note(place, Effect.REPLACED, f"property {name} removed")
            elif name in before:
                self.compare(before[name], after[name], place)
            else:
                self._added_property(name, old, after[name], at.old_closed, place)

    def _added_property(
        self, name: str, old: Schema, added: Json, closed_around: bool, at: At
    ) -> None:
        """Weigh a new property against what judged that name before it was named."""
        policy = old.get("additionalProperties", old.get("unevaluatedProperties", True))
        if "patternProperties" in old:
            message = f"property {name} added where patternProperties may have judged it"
            self.note(at, Effect.REPLACED, message)
        elif closed_around or is_closed(old):
            self.note(at, Effect.WIDENED, f"property {name} added to a closed object")
        elif as_object(policy):
            self.compare(policy, added, at)
        elif as_object(added).keys() - ANNOTATIONS:
            self.note(at, Effect.NARROWED, f"property {name} added to an open object")
        else:
            self.note(at, Effect.EXTENDED, f"property {name} named; any value is valid")

    def _pattern_properties(self, old: Schema, new: Schema, at: At) -> None:
        before, after = old.get("patternProperties", {}), new.get("patternProperties", {})
        closed = at.old_closed or at.new_closed or is_closed(old) or is_closed(new)
        for pattern in sorted(before.keys() | after.keys()):
            place = at.below("patternProperties", pattern)
            if pattern in before and pattern in after:
                self.compare(before[pattern], after[pattern], place)
            else:
                added = pattern in after
                # In a closed object the pattern lets names in; in an open one it binds them.
                effect = Effect.WIDENED if added == closed else Effect.NARROWED
                self.note(place, effect, f"patternProperties {'added' if added else 'removed'}")

    def _unknown_properties(self, old: Schema, new: Schema, at: At) -> None:
        for keyword in ("additionalProperties", "unevaluatedProperties"):
            self._extra(one_closing_keyword(old), one_closing_keyword(new), keyword, at)

    def _extra(self, old: Schema, new: Schema, keyword: str, at: At) -> None:
        before, after = old.get(keyword, True), new.get(keyword, True)
        place = at.below(keyword)
        closes, closed = is_never(as_object(after)), is_never(as_object(before))
        if closes and not closed:
            self.note(place, Effect.NARROWED, "closed: what is not named is refused now")
        elif closed and not closes:
            self.note(place, Effect.WIDENED, "opened: what is not named is accepted now")
        else:
            self.compare(before, after, place)

    def _property_names(self, old: Schema, new: Schema, at: At) -> None:
        names = (old.get("propertyNames", True), new.get("propertyNames", True))
        self.compare(*names, at.below("propertyNames"))

    def _dependencies(self, old: Schema, new: Schema, at: At) -> None:
        before, after = old.get("dependentRequired", {}), new.get("dependentRequired", {})
        for name in sorted(before.keys() | after.keys()):
            then = ({"required": before.get(name, [])}, {"required": after.get(name, [])})
            self._required(*then, at.into("dependentRequired", name))
        before, after = old.get("dependentSchemas", {}), new.get("dependentSchemas", {})
        for name in sorted(before.keys() | after.keys()):
            place = at.into("dependentSchemas", name)
            self.compare(before.get(name, True), after.get(name, True), place)

    # ------------------------------------------------------------ arrays

    def _items(self, old: Schema, new: Schema, at: At) -> None:
        before, after = old.get("prefixItems", []), new.get("prefixItems", [])
        for index in range(max(len(before), len(after))):
            # Beyond a prefix, items judges.
            first = before[index] if index < len(before) else old.get("items", True)
            second = after[index] if index < len(after) else new.get("items", True)
            self.compare(first, second, at.below("prefixItems", index))
        for keyword in ("items", "unevaluatedItems"):
            self._extra(old, new, keyword, at)

    def _contains(self, old: Schema, new: Schema, at: At) -> None:
        if "contains" in old and "contains" in new:
            self.compare(old["contains"], new["contains"], at.below("contains"))
        elif "contains" in old or "contains" in new:
            effect = Effect.NARROWED if "contains" in new else Effect.WIDENED
            self.note(at.below("contains"), effect, "contains added or removed")

    # ------------------------------------------------------------ combinations

    def _reference(self, old: Schema, new: Schema, at: At) -> None:
        before, after = old.get("$ref"), new.get("$ref")
        if before is None and after is None:
            return
        if before is None or after is None:
            self.note(at.into("$ref"), Effect.REPLACED, "a reference was added or removed")
        elif self._resolvable(before, after, at):
            self.compare({"$ref": before}, {"$ref": after}, self._around(old, new, at.into("$ref")))
        elif before != after:
            message = f"reference changed from {before} to {after}, and neither can be followed"
            self.note(at.into("$ref"), Effect.REPLACED, message)

    def _resolvable(self, before: str, after: str, at: At) -> bool:
        try:
            self.old_documents.resolve(before, at.old_uri)
            self.new_documents.resolve(after, at.new_uri)
        except LookupError:
            return False
        return True

    def _around(self, old: Schema, new: Schema, at: At) -> At:
        """The place of a subschema judging the same object, told whether its parent is closed."""
        return replace(
            at,
            old_closed=at.old_closed or old.get("unevaluatedProperties") is False,
            new_closed=at.new_closed or new.get("unevaluatedProperties") is False,
        )

    def _branches(self, old: Schema, new: Schema, at: At) -> None:
        for keyword in ("allOf", "anyOf", "oneOf"):
            if keyword in old or keyword in new:
                place = self._around(old, new, at.into(keyword))
                self._branch_lists(keyword, old.get(keyword), new.get(keyword), place)

    def _branch_lists(
        self, keyword: str, old: list[Json] | None, new: list[Json] | None, at: At
    ) -> None:
        if keyword != "allOf" and (old is None or new is None):
            effect = Effect.NARROWED if old is None else Effect.WIDENED
            self.note(at, effect, f"{keyword} {'added' if old is None else 'removed'}")
            return
        before, after = old or [], new or []
        so_far = len(self.changes)
        pairs, removed, added = _pair_up(before, after)
        for first, second in pairs:
            self.compare(before[first], after[second], at.into(second))
        narrows = keyword == "allOf"
        for index in removed:
            effect = Effect.WIDENED if narrows else Effect.NARROWED
            self.note(at.into(index), effect, f"{keyword} branch removed")
        for index in added:
            effect = Effect.NARROWED if narrows else Effect.WIDENED
            self.note(at.into(index), effect, f"{keyword} branch added")
        if keyword == "oneOf" and len(self.changes) > so_far:
            old_apart = self._apart(before, at.old_uri, self.old_documents)
            # A value under two branches is not valid: a wider one can take values away, and one
            # that goes can give them back.
            if not old_apart or not self._apart(after, at.new_uri, self.new_documents):
                self.note(at, Effect.REPLACED, "oneOf changed and its branches may overlap")

    def _apart(self, branches: list[Json], uri: str, documents: Documents) -> bool:
        schemas = [as_object(self._follow(one, uri, documents)[0]) for one in branches]
        return all(disjoint(one, other) for one, other in combinations(schemas, 2))

    def _negation(self, old: Schema, new: Schema, at: At) -> None:
        place = replace(at.below("not"), flipped=not at.flipped)
        if "not" in old and "not" in new:
            self.compare(old["not"], new["not"], place)
        elif "not" in old or "not" in new:
            added = "not" in new
            effect = Effect.NARROWED if added else Effect.WIDENED
            self.note(at.into("not"), effect, f"not {'added' if added else 'removed'}")

    def _condition(self, old: Schema, new: Schema, at: At) -> None:
        unconditional = {"if": None, "then": None, "else": None}.keys().isdisjoint
        if unconditional(old) and unconditional(new):
            return
        if unconditional(old) or unconditional(new):
            effect = Effect.NARROWED if unconditional(old) else Effect.WIDENED
            self.note(at.into("if"), effect, "a condition was added or removed")
        elif old.get("if") != new.get("if"):
            self.note(at.into("if"), Effect.REPLACED, "the condition changed")
        else:
            for keyword in ("then", "else"):
                place = self._around(old, new, at.into(keyword))
                self.compare(old.get(keyword, True), new.get(keyword, True), place)

    def _definitions(self, old: Schema, new: Schema, at: At) -> None:
        """Definitions are compared where they are referred to; here only whether they are there."""
        before, after = old.get("$defs", {}), new.get("$defs", {})
        for name in sorted(before.keys() - after.keys()):
            message = f"definition {name} removed; other contracts may refer to it"
            self.note(at.into("$defs", name), Effect.REPLACED, message)
        for name in sorted(after.keys() - before.keys()):
            self.note(at.into("$defs", name), Effect.EXTENDED, f"definition {name} added")


_ABSENT: Final = object()

_Group = Callable[[SchemaComparison, Schema, Schema, At], None]
_GROUPS: Final[tuple[_Group, ...]] = tuple(
    getattr(SchemaComparison, name)
    for name in (
        *("_types", "_values", "_ranges", "_sizes", "_texts", "_multiples", "_uniqueness"),
        *("_required", "_properties", "_pattern_properties", "_unknown_properties"),
        *("_property_names", "_dependencies", "_items", "_contains"),
        *("_reference", "_branches", "_negation", "_condition", "_definitions"),
        *("_default", "_annotations"),
    )
)
_KNOWN: Final = frozenset(
    {
        *ANNOTATIONS,
        *APPLICATORS_IN_PLACE,
        *LOWER_BOUNDS,
        *UPPER_BOUNDS,
        *("type", "enum", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
        *("pattern", "format", "multipleOf", "uniqueItems", "required", "properties"),
        *("patternProperties", "additionalProperties", "unevaluatedProperties", "propertyNames"),
        *("dependentRequired", "prefixItems", "items", "unevaluatedItems", "contains"),
        *("not", "$defs", "default"),
    }
)


def _bound_text(bound: Any) -> str:
    return str(bound[0] if isinstance(bound, tuple) else bound)  # pyright: ignore


def _listed(values: frozenset[str]) -> str:
    return ", ".join(sorted(values))


def _pair_up(
    old: list[Json], new: list[Json]
) -> tuple[list[tuple[int, int]], list[int], list[int]]:
    """Which branches belong together: the equal ones, then those in order; then what is over."""
    pairs: list[tuple[int, int]] = []
    left, right = list(range(len(old))), list(range(len(new)))
    for first in range(len(old)):
        for second in right:
            if old[first] == new[second]:
                pairs.append((first, second))
                left.remove(first)
                right.remove(second)
                break
    together = min(len(left), len(right))
    pairs += zip(left[:together], right[:together], strict=True)
    return sorted(pairs), left[together:], right[together:]
