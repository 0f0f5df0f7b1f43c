"""What a handler returns, as the JSON that is kept of it, or why it cannot be kept."""

import json
from typing import Any

import msgspec

from observatory.core import strict_json
from observatory.core.errors import MalformedJson
from observatory.core.lifecycle import ErrorInfo


def encoded(value: Any, bytes_max: int) -> str | ErrorInfo:
    """The JSON of a result, or the error that its attempt fails with. Whoever reads that wrote the
    handler, so it names the result and what to return instead."""
    try:
        result = _encoder.encode(value)
        if b"null" in result:
            # msgspec writes NaN and infinity as null; a result must not change on the way.
            plain = msgspec.to_builtins(value, str_keys=True, enc_hook=_as_its_base)
            json.dumps(plain, allow_nan=False)
        strict_json.decode(result, "it")
    except MalformedJson as error:
        return _refused(_told(error))
    except UnicodeEncodeError as error:
        return _refused(
            f"it holds a lone surrogate, {error.object[error.start]!a}; encode such text first, "
            "with errors='replace' or 'backslashreplace'"
        )
    except RecursionError:
        depth = strict_json.DEPTH_MAX
        return _refused(f"it holds itself, or is nested deeper than {depth} levels")
    except OverflowError:
        return _refused("it holds an integer beyond 64 bits; return a longer one as text")
    except ValueError as error:
        if "not JSON compliant" in str(error):
            return _refused("it holds NaN or infinity, which JSON has not; return None or text")
        return _refused(str(error))
    except TypeError as error:
        return _refused(f"{error}; return text, numbers, lists, dicts or None")
    if len(result) > bytes_max:
        return ErrorInfo(
            "ResultTooLarge",
            f"the result has {len(result)} bytes; at most {bytes_max} are kept "
            "(OBSERVATORY_RESULT_BYTES_MAX); keep it elsewhere and return where",
        )
    return result.decode()


def _refused(why: str) -> ErrorInfo:
    return ErrorInfo("ResultNotKept", f"the result cannot be kept as JSON: {why}")


def _told(error: MalformedJson) -> str:
    """What strict_json tells a sender, told to whoever returns it."""
    text = error.detail.replace("send", "return").replace("a string", "text")
    place = error.faults[0].pointer if error.faults else ""
    return f"{text} (at {place})" if place else text


def _as_its_base(value: Any) -> Any:
    """A value of a class of the user's (or numpy's) that is a JSON value under another name."""
    bases: tuple[Any, ...] = (str, int, float, list, tuple, dict)
    for base in bases:
        if isinstance(value, base):
            return base(value)
    raise TypeError(f"it holds a value of type {type(value).__qualname__}")


_encoder = msgspec.json.Encoder(enc_hook=_as_its_base)
