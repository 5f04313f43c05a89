"""Model cards say what a learner is, to people and to the Hub."""

import dataclasses

import pytest
from hub_problems import RECORD, learner_of

import mtnets
from mtnets import model_card, summarise


@pytest.fixture(scope="module")
def learner():
    return learner_of(mtnets.models.mlp(1, 6, 1, init_std=0.3), **RECORD)


def test_the_card_says_what_it_is(learner) -> None:
    card = model_card(learner, "someone/sine")
    for part in (
        'mtnets.load_from_hub("someone/sine")',
        "| method | mt_net (",
        "estimator=exact, ",
        "mask=sample",
        "| inner steps | 2 |",
        "| inner rate α | 0.05 |",
        "| meta-steps | 7000 |",
        "| best learner at meta-step | 6500 |",
        "| seed | 3 |",
        "| validation | mean squared error 0.1235 on 200 tasks |",
        "| family | sinusoid |",
        "| network | hidden=[6], norm=none |",
        str(summarise(learner.model, learner.method, 2)),
    ):
        assert part in card
    assert "Transductive" not in card
    assert "not a built-in one" not in card
    custom = dataclasses.replace(learner, model=dataclasses.replace(learner.model), record={})
    card = model_card(custom, "mine")
    assert 'load_from_hub("mine", model=model)' in card
    assert "must be passed as `model=`" in card
    assert "No validation score is on record" in card
    images = model_card(learner_of(mtnets.models.conv4(3, filters=2)), "characters")
    assert "Transductive batch norm: each prediction depends on the other inputs" in images
    assert "[examples, 28, 28, 1], labels 0 … 2" in images
    assert "| raw data that it takes | grey images, 28 × 28, inverted |" in model_card(
        mtnets.load("omniglot-any-way-1shot"), "omniglot"
    )


@pytest.mark.parametrize("licence", [None, "MIT"])
def test_the_card_is_one_for_the_hub(learner, licence) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="the Hub needs mtnets[hub]")
    data = hub.ModelCard(model_card(learner, "someone/sine", licence)).data
    assert data.library_name == "mtnets"
    assert {"few-shot-learning", "meta-learning"} <= set(data.tags)
    assert data.license == (licence and "mit")
    recorded = dataclasses.replace(learner, record={**RECORD, "licence": "CC-BY-4.0"})
    assert hub.ModelCard(model_card(recorded, "x")).data.license == "cc-by-4.0"
