"""The scikit-learn estimators under a short name: `from mtnets.sklearn import FewShotClassifier`."""

from mtnets.interop.sklearn import FewShotClassifier, FewShotRegressor

__all__ = ["FewShotClassifier", "FewShotRegressor"]
