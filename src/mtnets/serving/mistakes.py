"""What is wrong with the form of a request, in one sentence: the value, what was expected, the remedy."""

import json
from collections.abc import Mapping
from typing import Any

MOST_LETTERS = 40  # of a value that is quoted
UNREADABLE = "The body is no JSON in UTF-8, or nested too deeply; send what /docs lists."
# By the kinds of errors that Pydantic has for our forms; others are told in its words
EXPECTED: Mapping[str, str] = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "greater_than_equal": "at least {ge}",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "list_type": "a list",
    "model_attributes_type": "an object",
    "string_too_long": "text of at most {max_length} characters",
    "string_type": "text",
    "too_short": "a list with at least {min_length} item",
}


def mistake(error: Mapping[str, Any]) -> str:
    """The sentence for one of Pydantic's errors."""
    place = ".".join(str(part) for part in error["loc"] if part not in ("body", "path"))
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "json_invalid":
        return f"The body is no JSON ({context['error']} at character {error['loc'][-1]}); send what /docs lists."
    if isinstance(value, bytes):
        return "The body was not sent as JSON; send it with the header Content-Type: application/json."
    if kind == "missing":
        return f"{place or 'The body'} is missing; send what /docs lists."
    if kind == "extra_forbidden":
        return f"There is no entry {place!r} in this request; leave it out: /docs lists those that there are."
    expected = EXPECTED.get(kind, error["msg"].removeprefix("Input should be ")).format(**context)
    return f"{place or 'The body'} is {_quoted(value)}; it must be {expected}: /docs lists the forms."


def _quoted(value: Any) -> str:
    """A value as the client wrote it, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= MOST_LETTERS else f"{text[:MOST_LETTERS]} …"
