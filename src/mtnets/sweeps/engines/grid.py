"""Every combination."""

from collections.abc import Mapping
from typing import Any

from mtnets.inner import Method
from mtnets.sweeps.grid import Setting, Vary, expand
from mtnets.sweeps.study import Study


def search(
    study: Study,
    methods: Mapping[str, Method],
    vary: Vary,
    training: Mapping[str, Any],
    trials: int | None,
    higher: bool,
) -> list[Setting]:
    """Trains every combination of the values, and returns them; the other arguments are those of the other engines.

    Raises:
      OptionError: for a value that is not possible; nothing is trained before.
    """
    settings = expand(methods, vary, training)
    study.train(settings)
    return settings
