"""The search for image recipes, in small."""

import json

import pytest

from experiments import image_recipes
from experiments.image_recipes import SEARCHES, ImageRecipes, Search
from mtnets import OptionError
from mtnets.inner import method_from_json


@pytest.mark.slow
def test_a_search(root, tmp_path, monkeypatch) -> None:
    settings = {"maml": SEARCHES["cifar-fs"].settings["maml"]._replace(inner_steps=1)}
    monkeypatch.setitem(image_recipes.SEARCHES, "cifar-fs", Search({"meta_steps": 2, "meta_batch": 2}, settings))
    monkeypatch.setenv("MTNETS_CACHE", str(tmp_path / "cache"))
    ImageRecipes(("cifar-fs",), tasks=4, root=str(root), devices=1, out=str(tmp_path))()
    part = json.loads((tmp_path / "cifar-fs" / "maml.json").read_text())
    assert part["method"]["name"] == "maml"
    assert part["training"]["schedule"] == "cosine"
    assert [row["step"] for row in part["validation"]] == [0, 1, 2, 3, 4, 5]
    assert part["settings"] == {"meta_steps": 2, "meta_batch": 2, "tasks": 4}


def test_settings_are_possible() -> None:
    for search in SEARCHES.values():
        for setting in search.settings.values():
            assert method_from_json(setting.method).name == setting.method["name"]


def test_bad_input() -> None:
    with pytest.raises(OptionError, match="searches holds 'mnist'; choose some of omniglot-20way, cifar-fs"):
        ImageRecipes(("mnist",))()
