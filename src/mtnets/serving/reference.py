"""The page `/docs`: the OpenAPI document as plain HTML, which needs nothing from elsewhere."""

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any


def page(document: Mapping[str, Any]) -> str:
    """HTML that lists the requests with their forms.

    Args:
      document: as OpenAPI 3.1.
    """
    requests = "".join(
        _request(method, path, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    )
    forms = "".join(
        f"<h3 id='{escape(name)}'>{escape(name)}</h3>{_text(form.get('description', ''))}"
        f"<table><tbody>{''.join(_rows(form))}</tbody></table>"
        for name, form in document["components"]["schemas"].items()
    )
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{escape(document['info']['title'])}: requests</title>"
        "<link rel='stylesheet' href='page.css'></head><body class='reference'><main>"
        f"<h1>{escape(document['info']['title'])}</h1>{_text(document['info'].get('description', ''))}"
        f"<p>The same for programs: <a href='openapi.json'>openapi.json</a>.</p>{requests}<h2>Forms</h2>{forms}"
        "</main></body></html>"
    )


def _request(method: str, path: str, operation: Mapping[str, Any]) -> str:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    sent = f"<p>Takes {_kind(body)}.</p>" if body else ""
    answers = "".join(
        f"<tr><th scope='row'>{escape(status)}</th><td>{escape(answer.get('description', ''))}</td>"
        f"<td>{_kind(answer.get('content', {}).get('application/json', {}).get('schema'))}</td></tr>"
        for status, answer in operation["responses"].items()
    )
    return (
        f"<h2><code>{escape(method.upper())} {escape(path)}</code></h2>{_text(operation.get('description', ''))}{sent}"
        f"<table><tbody>{answers}</tbody></table>"
    )


def _rows(form: Mapping[str, Any]) -> Iterator[str]:
    for name, field in form.get("properties", {}).items():
        needed = "" if name in form.get("required", ()) else "may be left out"
        about = escape(" ".join(filter(None, (field.get("description", ""), needed))))
        yield f"<tr><th scope='row'><code>{escape(name)}</code></th><td>{_kind(field)}</td><td>{about}</td></tr>"


def _kind(schema: Mapping[str, Any] | None) -> str:
    """A schema in words."""
    if not schema:
        return "any"
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f"<a href='#{name}'>{name}</a>"
    if "anyOf" in schema:
        return " or ".join(_kind(part) for part in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"<code>{escape(json.dumps(value))}</code>" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items'))}"
    return escape(str(schema.get("type", "any")))


def _text(text: str) -> str:
    return "".join(f"<p>{escape(part)}</p>" for part in text.split("\n\n") if part.strip())
