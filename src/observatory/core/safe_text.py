"""Text from elsewhere as a terminal may be given it: shown, never obeyed."""

import re
from typing import Final

_UNSAFE: Final = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # C0, DEL, C1: escape sequences begin with one of them
    "\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # bidi, invisible
    "\U000e0000-\U000e007f"  # tags
    "\ud800-\udfff"  # lone surrogates cannot be encoded
    "]"
)


def safe(text: object, *, lines: bool = False) -> str:
    """Text that a terminal shows and does not obey; `lines` keeps line breaks and tabs."""

    def visible(match: re.Match[str]) -> str:
        char = match.group()
        if lines and char in "\n\t":
            return char
        return char.encode("unicode_escape", "surrogatepass").decode("ascii")

    return _UNSAFE.sub(visible, str(text))
