"""Learners in other libraries: scikit-learn (`mtnets.sklearn`), the Hugging Face Hub, programs that draw curves."""

from mtnets.interop import loggers
from mtnets.interop.hub import load_from_hub, push_to_hub
from mtnets.interop.model_card import model_card

__all__ = ["load_from_hub", "loggers", "model_card", "push_to_hub"]
