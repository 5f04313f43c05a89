"""What a sweep varies: every combination, once; what is not possible is one sentence."""

import math

import pytest

import mtnets
from mtnets.errors import OptionError
from mtnets.sweeps import Range
from mtnets.sweeps.grid import check_vary, expand, numbers_varied, titled, vary_from_text

METHODS = titled([mtnets.maml(), mtnets.mt_net()])


def test_every_combination_of_what_means_something_to_a_method() -> None:
    vary = {"inner_lr": [0.01, 0.1], "mask": ["sample", "mean"], "meta_lr": [1e-3]}
    settings = expand(METHODS, vary, {"meta_steps": 5})
    assert [setting.label for setting in settings] == [
        "maml inner-lr 0.01 meta-lr 0.001",
        "maml inner-lr 0.1 meta-lr 0.001",
        "mt-net inner-lr 0.01 mask sample meta-lr 0.001",
        "mt-net inner-lr 0.01 mask mean meta-lr 0.001",
        "mt-net inner-lr 0.1 mask sample meta-lr 0.001",
        "mt-net inner-lr 0.1 mask mean meta-lr 0.001",
    ]
    last = settings[-1]
    assert last.method == mtnets.mt_net(0.1, mask="mean")
    assert last.training == {"meta_steps": 5, "meta_lr": 1e-3}
    assert last.folder == "mt-net-inner-lr-0.1-mask-mean-meta-lr-0.001"
    assert list(numbers_varied(settings)) == ["inner_lr"]


def test_methods_may_have_titles() -> None:
    methods = titled({"plain": mtnets.mt_net(), "two sides": mtnets.mt_net(sides=2)})
    assert [setting.folder for setting in expand(methods, {}, {})] == ["plain", "two-sides"]
    assert titled(mtnets.mt_net(0.1)) == {"mt-net": mtnets.mt_net(0.1)}


@pytest.mark.parametrize(
    ("methods", "words"),
    [
        ([], "methods is empty"),
        ([mtnets.maml(), mtnets.maml(0.1)], "There are several methods 'maml'; give them titles"),
        ({"a": "maml"}, "methods holds 'maml'; each must be a method"),
    ],
)
def test_methods_that_are_none(methods: object, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        titled(methods)


@pytest.mark.parametrize(
    ("vary", "words"),
    [
        (
            {"inner_rl": [1]},
            "inner_rl cannot be varied, since it is no option of maml, mt-net or of the training; perh",
        ),
        ({"shots": [1, 5]}, "shots cannot be varied, since it is no option of"),
        ({"test_tasks": [5, 6]}, "test_tasks cannot be varied: it would change by what settings are judged"),
        ({"meta_lr": []}, "meta_lr is varied over no value"),
        ({"meta_lr": "0.1"}, "meta_lr is varied over '0.1'; it must be a list"),
        ({"meta_lr": 0.1}, "meta_lr is varied over 0.1; it must be a list"),
        ({"meta_lr": [0.1, 0.2, 0.1]}, "meta_lr is varied over 0.1 twice"),
        ({"meta_lr": Range(0.1, 1)}, r"meta_lr is varied over the range 0\.1\.\.1, and a grid needs values"),
    ],
)
def test_what_cannot_be_varied(vary: dict, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        check_vary(METHODS, vary, ranges=False)


@pytest.mark.parametrize(
    ("vary", "words"),
    [
        ({"inner_lr": ["x"]}, "inner_lr is 'x'; it must be a number"),
        ({"inner_lr": [-1.0]}, "inner_lr is -1.0"),
        ({"mask": ["men"]}, "mask is 'men'"),
        ({"adapts": ["a b", "a-b"]}, "would have one folder; give them other titles"),
        ({"adapts": ["a" * 300]}, "is too long for the name of a folder"),
    ],
)
def test_values_that_are_not_possible(vary: dict, words: str) -> None:
    with pytest.raises(OptionError, match=words):
        expand(METHODS, vary, {})


def test_what_is_varied_as_text() -> None:
    texts = ["inner-lr=0.01,1e-1", "--clip-norm=10,off", "sides=1", "adapts_norm=true,False", "meta-lr=1e-4..1:log"]
    assert vary_from_text(texts) == {
        "inner_lr": [0.01, 0.1],
        "clip_norm": [10, "off"],
        "sides": [1],
        "adapts_norm": [True, False],
        "meta_lr": Range(1e-4, 1, log=True),
    }
    assert vary_from_text(["inner-lr="]) == {"inner_lr": []}


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["inner-lr"], "vary is 'inner-lr'; it must be NAME=VALUE,VALUE"),
        (["=1"], "vary is '=1'"),
        (["sides=1", "sides=2"], r"vary is \['sides=1', 'sides=2'\], with sides twice"),
        (["sides=1..2:lag"], r"a range is LOW\.\.HIGH, or LOW\.\.HIGH:log"),
        (["sides=a..2"], "low is 'a'; it must be a number"),
        (["sides=2..2"], "high is 2; it must be above low, 2"),
        (["sides=0..2:log"], "low is 0; it must be above 0"),
        (["sides=0..inf"], "high is inf; it must be a number"),
    ],
)
def test_text_that_says_nothing_to_vary(texts: list[str], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        vary_from_text(texts)


def test_numbers_of_a_range() -> None:
    rates, steps = Range(0.001, 1, log=True), Range(1, 5)
    assert [rates.at(share) for share in (0, 0.5, 1)] == [0.001, float(f"{math.sqrt(0.001):.4g}"), 1]
    assert [steps.at(share) for share in (0, 0.3, 1)] == [1, 2, 5]
    assert Range(0.123449, 1).rounded(0.123449) == 0.123449  # never beyond a bound
