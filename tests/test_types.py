"""What a type checker refuses, and Python too: `make check` fails where it has nothing to say of one of these lines."""

# pyright: reportCallIssue=true, reportArgumentType=true, reportUnnecessaryTypeIgnoreComment=true

import pytest

import mtnets

TASKS = mtnets.tasks.sinusoid()


def test_a_typo_in_an_option_of_a_method() -> None:
    with pytest.raises(TypeError, match="maks"):
        mtnets.mt_net(maks="mean")  # pyright: ignore[reportCallIssue]


def test_a_value_that_an_option_does_not_have() -> None:
    with pytest.raises(mtnets.OptionError, match="'never'"):
        mtnets.mt_net(mask="never")  # pyright: ignore[reportArgumentType]


def test_the_name_of_an_estimator_instead_of_a_value() -> None:
    with pytest.raises(mtnets.OptionError, match="FirstOrder"):
        mtnets.maml(estimator="first-order")  # pyright: ignore[reportArgumentType]


def test_a_typo_in_a_setting() -> None:
    with pytest.raises(mtnets.OptionError, match="no setting meta_stepss"):
        mtnets.meta_train(None, mtnets.maml(), TASKS, meta_stepss=3)  # pyright: ignore[reportCallIssue]


def test_a_setting_of_another_type() -> None:
    with pytest.raises(mtnets.OptionError, match="meta_steps is '3'"):
        mtnets.meta_train(None, mtnets.maml(), TASKS, meta_steps="3")  # pyright: ignore[reportArgumentType]
