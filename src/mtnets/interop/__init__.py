"""Learners in other libraries: scikit-learn (`mtnets.sklearn`) and the Hugging Face Hub."""

from mtnets.interop.hub import load_from_hub, push_to_hub
from mtnets.interop.model_card import model_card

__all__ = ["load_from_hub", "model_card", "push_to_hub"]
