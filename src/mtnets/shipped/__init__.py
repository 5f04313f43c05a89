"""What ships with the package: meta-trained learners, and recipes of trainings.

Both have `names()`; `learners.path(name)` and `learners.card(name)` are about one learner, `recipes.read(name)` is one
recipe.
"""

from mtnets.shipped import learners, recipes

__all__ = ["learners", "recipes"]
