"""Changes to valid files: blindly to their bytes, and to the values that they hold."""

import copy
import io
import json
import pickle
import warnings
import zipfile
from random import Random
from typing import Any

import numpy as np

from mtnets.arrays import UNSEALED, from_bytes, sealed, to_bytes
from mtnets.files import CHECKSUM, checksum

ODD: list[Any] = [
    None, True, False, -1, 0, 1, 2, 3, 7, 100, 2**31, 2**63, 10**25, 0.5, -1.5, 1e-300, 1e300, float("nan"),
    float("inf"), "", "x", "all", "sgd", "mlp", "sample", "custom", "\x1b[31m\n", "\ud800", "é" * 300, [], [1], [[1]],
    [1, 2, 3], ["a", "b"], {}, {"a": 1}, {"name": "x"}, {"kind": "images"}, {"kind": "table"},
]  # fmt: skip
DEEP = "[" * 5000 + "]" * 5000
INTERESTING = (
    b"",
    b"\0",
    b"\xff",
    b"\x7f\xff\xff\xff",
    b"\xff" * 8,
    b"\0" * 8,
    b"A" * 100,
    b"1e999",
    b'"',
    b"\n",
    b",",
)


def changed_bytes(data: bytes, random: Random) -> bytes:
    """A few places overwritten, taken out, doubled, filled or moved."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 4, 8))):
        place = random.randrange(len(changed) + 1)
        some = random.randrange(1, 17)
        match random.randrange(6):
            case 0 if place < len(changed):
                changed[place] ^= 1 << random.randrange(8)
            case 1 if place < len(changed):
                changed[place] = random.randrange(256)
            case 2:
                del changed[place : place + some]
            case 3:
                changed[place:place] = changed[place : place + some]
            case 4:
                changed[place:place] = random.choice(INTERESTING)
            case _:
                changed[place : place + some] = random.choice(INTERESTING)
    return bytes(changed)


def changed_value(value: Any, random: Random) -> Any:
    """A value of JSON with another one in a place or two."""
    root = {"": copy.deepcopy(value)}
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        holder: Any = root
        key: Any = ""
        while isinstance(holder[key], dict | list) and holder[key] and random.random() < 0.85:
            holder = holder[key]
            key = random.choice(list(holder)) if isinstance(holder, dict) else random.randrange(len(holder))
        match random.randrange(8):
            case 0 if holder is not root:
                del holder[key]
            case 1 if isinstance(holder, dict) and holder is not root:
                holder[random.choice(("x", "name", "kind", "rank", "values", "\x07"))] = random.choice(ODD)
            case 2 if isinstance(holder, list):
                holder.extend(holder[:50])
            case 3 if isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
                holder[key] = random.choice((-holder[key], holder[key] + 1, holder[key] * 1000, str(holder[key])))
            case _:
                holder[key] = copy.deepcopy(random.choice(ODD))
    return root.get("")


def changed_json(data: bytes, random: Random) -> bytes:
    """A JSON file with other values, its checksum made again where it has one; or with other bytes."""
    choice = random.random()
    if choice < 0.02:
        return DEEP.encode()
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return changed_bytes(data, random)
    if choice < 0.3:
        return changed_bytes(data, random)
    again = isinstance(value, dict) and value.pop(CHECKSUM, None) is not None
    value = changed_value(value, random)
    if again and isinstance(value, dict):
        value[CHECKSUM] = checksum(value)
    return json.dumps(value).encode(errors="replace")


def changed_tensors(data: bytes, random: Random) -> bytes:
    """A safetensors file with other values in its card, or other arrays, with the right checksum; or with other
    bytes."""
    choice = random.random()
    try:
        arrays, metadata = from_bytes(data)
        card = json.loads(metadata["mtnets"])
    except Exception:  # it was changed before
        return changed_bytes(data, random)
    if choice < 0.3:
        return changed_bytes(data, random)
    if choice < 0.5 and arrays:
        _change_array(arrays, random)
    else:
        if isinstance(card, dict):
            card.pop(CHECKSUM, None)
        card = changed_value(card, random)
    if isinstance(card, dict):
        card = {CHECKSUM: UNSEALED} | {name: value for name, value in card.items() if name != CHECKSUM}
    text = json.dumps(card) if random.random() < 0.99 else DEEP
    return sealed(to_bytes(arrays, {"mtnets": text}))


def _change_array(arrays: dict[str, np.ndarray], random: Random) -> None:
    name = random.choice(sorted(arrays))
    array = arrays.pop(name)
    match random.randrange(7):
        case 0:
            arrays[name] = array.astype(random.choice(("float16", "float64", "int32", "uint8", "bool")))
        case 1:
            arrays[name] = array.reshape(-1)
        case 2:
            arrays[name] = array[None]
        case 3:
            arrays[random.choice((name + "x", "used.", f"places.{name}", "values.", "\x1b"))] = array
        case 4:
            arrays[name] = np.zeros((0, 7), array.dtype)
        case 5:
            arrays[name] = np.full_like(array, random.choice((0, 1)))
        case _:
            pass


def changed_zip(data: bytes, random: Random) -> bytes:
    """A zip archive with other entries; or with other bytes."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    except Exception:  # it was changed before
        return changed_bytes(data, random)
    if random.random() < 0.6 or not entries:
        return changed_bytes(data, random)
    place = random.randrange(len(entries))
    name, content = entries[place]
    odd = ("../x.png", "/x", "C:\\x", "a//b.png", "\x1b[2J.png", "a/" * 50 + "x.png", "x.png/", "train/1.png", "é.png")
    entries[place] = (random.choice((name, random.choice(odd))), changed_bytes(content, random))
    entries += [random.choice(entries)] * random.randrange(2)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two entries of one name
        for name, content in entries:
            large = bytes(70 << 20) if random.random() < 0.0003 else content
            kind = random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
            archive.writestr(zipfile.ZipInfo(name or "x"), large, kind)
    return buffer.getvalue()


def changed_npy(data: bytes, random: Random) -> bytes:
    """A .npy file with another header; or with other bytes."""
    if random.random() < 0.5 or len(data) < 10:
        return changed_bytes(data, random)
    length = int.from_bytes(data[8:10], "little")
    kind = random.choice(("|u1", "<f8", "|O", "<U9", "|V0", "[('a', '<i4')]", "<M8[s]"))
    shape = random.choice(("(3, 4)", "(10**12,)", "(2, 10**9)", "()", "(-1,)", "(0, 3)", "3", "None", "(" * 300))
    kind = kind if kind[0] == "[" else repr(kind)
    header = f"{{'descr': {kind}, 'fortran_order': {random.choice((True, False, 3))}, 'shape': {shape}}}"
    return data[:8] + len(header).to_bytes(2, "little") + header.encode() + data[10 + length :]


OPCODES = [
    getattr(pickle, name) for name in pickle.__all__ if name.isupper() and isinstance(getattr(pickle, name), bytes)
]


def changed_pickle(data: bytes, random: Random) -> bytes:
    """A pickle with some more or other opcodes; or with other bytes."""
    if random.random() < 0.5:
        return changed_bytes(data, random)
    place = random.randrange(len(data) + 1)
    some = b"".join(random.choice(OPCODES) + random.randbytes(random.choice((0, 0, 1, 4))) for _ in range(3))
    return data[:place] + some + data[place + random.randrange(4) :]


CELLS = (
    "1", "-1.5", "1e999", "1,5", "1.234,5", "1 000", "a", "", "?", "nan", "inf", "2020-01-02", "12:30", "true", "é",
    '"', "''", "1" * 400, "1" * 5000, "1" + " " * 3000 + "x", "(" * 50, "\0", "\x1b[31m", "😀", "3.0", "0x1f", "١",
    "10 kg", "$5", "12%", "Jan 5, 2020", "1e5", "1" * 19,
)  # fmt: skip


def changed_text(data: bytes, random: Random) -> bytes:
    """A table of text with other cells; or with other bytes."""
    if random.random() < 0.4:
        return changed_bytes(data, random)
    lines = data.decode("utf-8", "replace").split("\n")
    separator = random.choice((",", ",", ",", ";", "\t", "|"))
    for _ in range(random.choice((1, 2, 8))):
        row = random.randrange(len(lines))
        cells = lines[row].split(separator)
        cells[random.randrange(len(cells))] = random.choice(CELLS)
        lines[row] = separator.join(cells)
    text = "\n".join(lines)
    return text.encode(random.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1", "utf-16-le")), "replace")


def changed_response(data: bytes, random: Random) -> bytes:
    """An answer of a web server with other headers; or with other bytes."""
    head, end, body = data.partition(b"\r\n\r\n")
    if random.random() < 0.4 or not end:
        return changed_bytes(data, random)
    odd = (
        b"Content-Length: many", b"Content-Length: -1", b"Content-Length: 99999999999999999999", b"Content-Length: 3",
        b"Content-Encoding: gzip", b"Content-Encoding: br", b"Transfer-Encoding: chunked", b"Location: /x",
        b"X" * 70_000, b"Content-Type: text/html", b": x", b"Set-Cookie: a=b; Max-Age=x", b"Connection: upgrade",
    )  # fmt: skip
    lines = head.split(b"\r\n")
    lines.insert(random.randrange(1, len(lines) + 1), random.choice(odd))
    if random.random() < 0.3:
        lines[0] = random.choice(
            (b"HTTP/1.1 302 Found", b"HTTP/1.1 500 x", b"HTTP/1.1 204 x", b"HTTP/9 200", b"x", b"")
        )
    if random.random() < 0.3:
        body = random.choice((body * 300, b"", body[:5], b"5\r\nabcde\r\n0\r\n\r\n"))
    return b"\r\n".join(lines) + end + body
