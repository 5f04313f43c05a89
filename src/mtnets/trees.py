"""Trees of arrays, and their leaves by path."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax

from mtnets.errors import OptionError


def path_of(keys: Sequence[Any]) -> str:
    """`a.0.kernel` for the key path of a leaf."""
    return ".".join(str(getattr(k, "key", getattr(k, "idx", getattr(k, "name", k)))) for k in keys)


def leaves_by_path(tree: Any) -> dict[str, Any]:
    """All leaves of a tree by their path.

    Raises:
      OptionError: for two leaves of the same path, such as `{"a.b": ..., "a": {"b": ...}}`.
    """
    leaves: dict[str, Any] = {}
    for keys, leaf in jax.tree.leaves_with_path(tree):
        path = path_of(keys)
        if path in leaves:
            raise OptionError(f"Two arrays have the path {path!r}, by which they could not be told apart; rename one.")
        leaves[path] = leaf
    return leaves


def replace_leaves(tree: Any, leaves: Mapping[str, Any]) -> Any:
    """The tree with the leaves at the given paths replaced."""
    return jax.tree.map_with_path(lambda keys, leaf: leaves.get(path_of(keys), leaf), tree)


def nested(leaves: dict[str, Any]) -> dict[str, Any]:
    """Leaves by path in nested dictionaries."""
    tree: dict[str, Any] = {}
    for path, leaf in leaves.items():
        *folders, name = path.split(".")
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[name] = leaf
    return tree
