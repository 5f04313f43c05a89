"""The scikit-learn estimators under a short name: `from mtnets.sklearn import FewShotClassifier`."""

from typing import Any

from mtnets.errors import RunError
from mtnets.interop.sklearn import FewShotClassifier, FewShotRegressor


def __getattr__(name: str) -> Any:
    if name == "_Packed":  # in pickles of version 0.1
        raise RunError("This estimator was pickled by mtnets 0.1; fit it again, and pickle it with this version.")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["FewShotClassifier", "FewShotRegressor"]
