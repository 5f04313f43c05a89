"""From files to predictions."""

import os
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import mtnets
from mtnets.errors import DataError, OptionError
from mtnets.learner.predictions import Predictions, predict_files
from shops import shop_table, shop_tasks

pandas = pytest.importorskip("pandas", reason="tables of these tests are data frames of pandas")
pytest.importorskip("narwhals", reason="data frames are read by narwhals: pip install 'mtnets[table]'")


def trained(family, **settings):
    return mtnets.meta_train(None, mtnets.maml(0.1), family, validate_every=0, progress=False, **settings)


@pytest.fixture(scope="module")
def learner():
    return trained(shop_tasks(shop_table(40)), meta_steps=300)


def test_files_are_predicted_task_by_task(learner, tmp_path):
    frame = shop_table(3, seed=8)
    frame.groupby("shop").head(10).to_csv(tmp_path / "support.csv", index=False)
    frame.groupby("shop").tail(20).sample(frac=1, random_state=0).to_parquet(tmp_path / "query.parquet")
    query = pandas.read_parquet(tmp_path / "query.parquet")
    predictions = predict_files(learner, tmp_path / "support.csv", tmp_path / "query.parquet")
    assert predictions.titles == ("shop", "row", "prediction")
    assert [row[0] for row in predictions.rows] == query["shop"].to_list()
    assert [row[1] for row in predictions.rows] == list(range(60))
    expected = np.zeros(60)
    for shop in ("shop 0", "shop 1", "shop 2"):
        places = np.flatnonzero(query["shop"] == shop)
        expected[places] = learner.adapt(frame[frame["shop"] == shop][:10])(query.iloc[places])[:, 0]
    np.testing.assert_allclose([float(row[2]) for row in predictions.rows], expected, rtol=1e-5)
    error = np.abs(expected - query["sales"]).mean()
    assert predictions.score == f"mean absolute error {error:.4f} on 60 rows of known sales"
    predictions.save(tmp_path / "out.csv")
    assert len(pandas.read_csv(tmp_path / "out.csv")) == 60


def test_a_support_without_the_task_column_is_one_task(learner, tmp_path):
    frame = shop_table(1, seed=5).drop(columns=["shop"])
    frame[:10].to_csv(tmp_path / "support.csv", index=False)
    frame[10:].drop(columns=["sales"]).to_csv(tmp_path / "query.csv", index=False)
    predictions = predict_files(learner, tmp_path / "support.csv", tmp_path / "query.csv")
    assert predictions.titles == ("row", "prediction")
    assert [row[0] for row in predictions.rows] == list(range(20))
    assert predictions.score == ""


def test_the_score_is_of_the_rows_whose_truth_is_known(learner, tmp_path):
    frame = shop_table(1, seed=5)
    frame[:10].to_csv(tmp_path / "support.csv", index=False)
    frame[10:].assign(sales=[*frame["sales"][10:12], *[None] * 18]).to_csv(tmp_path / "query.csv", index=False)
    predictions = predict_files(learner, tmp_path / "support.csv", tmp_path / "query.csv")
    error = np.abs(learner.adapt(frame[:10])(frame[10:12])[:, 0] - frame["sales"][10:12]).mean()
    assert predictions.score == f"mean absolute error {error:.4f} on 2 rows of known sales"


@pytest.mark.slow
def test_numbers_come_with_intervals_where_the_learner_has_some(tmp_path):
    """Without a training: what is asked is which numbers stand in the table."""
    frame, family = shop_table(1, seed=5), shop_tasks(shop_table(40))
    support, query = tmp_path / "support.csv", tmp_path / "query.csv"
    frame[:5].to_csv(support, index=False)
    frame[10:16].to_csv(query, index=False)
    start = {"meta_steps": 1, "meta_batch": 1, "validate_every": 0, "progress": False}
    levels = mtnets.losses.Quantile(levels=(0.05, 0.5, 0.95))
    quantile = mtnets.meta_train(None, mtnets.mt_net(0.1), family, loss=levels, **start)
    model = quantile.adapt(frame[:5])
    low, high = model.interval(frame[10:16], 0.9)
    expected = np.stack([np.asarray(model(frame[10:16]))[:, 1], low[:, 0], high[:, 0]], axis=1)
    predictions = predict_files(quantile, support, query, interval=0.9)
    assert predictions.titles == ("shop", "row", "prediction", "lower", "upper")
    np.testing.assert_allclose([[float(cell) for cell in row[2:]] for row in predictions.rows], expected, rtol=1e-4)
    fit = mtnets.conformal(quantile, family, coverage=0.9)
    low, high = fit.interval(model, frame[10:16])
    calibrated = predict_files(quantile, support, query, interval=0.9, calibrate=family)
    ends = [[float(cell) for cell in row[3:]] for row in calibrated.rows]
    np.testing.assert_allclose(ends, np.stack([low[:, 0], high[:, 0]], axis=1), rtol=1e-4)
    two = shop_table(2, seed=5)
    two.groupby("shop").head(4).to_csv(tmp_path / "few.csv", index=False)
    two.groupby("shop").tail(2).to_csv(tmp_path / "asked.csv", index=False)
    with pytest.warns(UserWarning, match="were calibrated on tasks of 5 examples, and here are 4: they may") as said:
        predict_files(quantile, tmp_path / "few.csv", tmp_path / "asked.csv", interval=0.9, calibrate=family)
    assert len(said) == 1  # for both shops
    several = quantile.adapt(frame[:5], masks=2)
    drawn = predict_files(quantile, support, query, masks=2)
    np.testing.assert_allclose([float(row[2]) for row in drawn.rows], several(frame[10:16])[:, 1], rtol=1e-4)
    for more, words in (
        ({"interval": 0.5}, "coverage is 0.5, which needs the levels 0.25 and 0.75"),
        ({"interval": 2}, "interval is 2; it must be a number between 0 and 1"),
        ({"calibrate": family}, "calibrate is given without an interval"),
        ({"masks": 1}, "masks is 1; it must be a whole number from 2"),
    ):
        with pytest.raises(OptionError, match=words):
            predict_files(quantile, support, query, **more)


def test_a_learner_without_intervals_says_what_has_some(learner, tmp_path):
    frame = shop_table(1, seed=5)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(OptionError, match=r"mse says no standard deviation; .* with --interval 0\.9 --calibrated\."):
        predict_files(learner, tmp_path / "rows.csv", tmp_path / "rows.csv", interval=0.9)
    with pytest.raises(OptionError, match=r"interval is 0\.9, and this learner predicts classes, which have none"):
        predict_files(mtnets.load("omniglot-any-way-1shot"), tmp_path, tmp_path, interval=0.9)


@pytest.mark.slow
def test_classes_of_a_table_come_with_their_probabilities(tmp_path):
    learner = trained(shop_tasks(shop_table(), "good", kind="classification"), meta_steps=2)
    frame = shop_table(1, seed=3)
    frame[:10].to_csv(tmp_path / "support.csv", index=False)
    frame[10:].to_csv(tmp_path / "query.csv", index=False)
    predictions = predict_files(learner, tmp_path / "support.csv", tmp_path / "query.csv", inner_steps=2)
    assert predictions.titles == ("shop", "row", "prediction", "probability_False", "probability_True")
    model = learner.adapt(frame[:10], inner_steps=2)
    shares = np.array([[float(cell) for cell in row[3:]] for row in predictions.rows])
    np.testing.assert_allclose(shares, model.probabilities(frame[10:]), atol=1e-6)
    assert [row[2] for row in predictions.rows] == [("False", "True")[best] for best in shares.argmax(1)]
    right = np.mean([row[2] == str(good) for row, good in zip(predictions.rows, frame["good"][10:], strict=True)])
    assert predictions.score == f"accuracy {right:.4f} on 20 rows of known good"


@pytest.mark.slow
def test_images_are_classified_by_the_folders_of_the_support(tmp_path):
    network = mtnets.models.Conv4(filters=2, norm="support")
    learner = trained(mtnets.tasks.glyphs(ways=3, queries=2, network=network), meta_steps=1, meta_batch=2)
    task = mtnets.tasks.glyphs(ways=2, shots=2, queries=3).test.sample(jax.random.key(1))
    pixels = {p: (255 * (1 - np.asarray(getattr(task, p).x))).astype(np.uint8) for p in ("support", "query")}
    for part, images in pixels.items():
        for i, (image, label) in enumerate(zip(images, getattr(task, part).y, strict=True)):
            path = tmp_path / part / "ab"[int(label)] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[..., 0]).save(path)
    (tmp_path / "query" / "b").rename(tmp_path / "query" / "something else")
    predictions = predict_files(learner, tmp_path / "support", tmp_path / "query")
    assert predictions.titles == ("path", "prediction", "probability_a", "probability_b")
    model = learner.adapt(pixels["support"], np.asarray(task.support.y))
    shares = np.array([[float(cell) for cell in row[2:]] for row in predictions.rows])
    np.testing.assert_allclose(shares, model.probabilities(pixels["query"])[:, :2], atol=1e-6)
    right = np.mean([row[1] == "a" for row in predictions.rows[:3]])
    assert predictions.score == f"accuracy {right:.4f} on 3 images of known class"  # of a class that was learned
    for name in "cde":
        (tmp_path / "support" / name).symlink_to(tmp_path / "support" / "a")
    with pytest.raises(OptionError, match=r"has 5 classes and this learner tells 3 apart; .* --ways 5"):
        predict_files(learner, tmp_path / "support", tmp_path / "query")


def test_a_learner_of_neither_is_refused(tmp_path):
    with pytest.raises(OptionError, match="takes neither images nor tables; adapt it in Python"):
        predict_files(mtnets.load("sine-10shot"), tmp_path, tmp_path)


def test_files_that_do_not_fit_get_a_sentence(learner, tmp_path):
    def fails(words, query):
        query.to_csv(tmp_path / "query.csv", index=False)
        with pytest.raises(DataError, match=words):
            predict_files(learner, tmp_path / "support.csv", tmp_path / "query.csv")

    frame = shop_table(1)
    frame[:10].to_csv(tmp_path / "support.csv", index=False)
    fails("The support has no rows of task shop 9", frame[10:].replace({"shop 0": "shop 9"}))
    fails("The support has the task column shop and the query has not", frame.drop(columns=["shop"]))
    fails("The query has 20 rows, 0 of them with a task in column shop", frame[10:].replace({"shop 0": None}))
    fails("The query has no rows", frame[:0])
    fails(r"sales is \? in row 0", frame[10:].assign(sales="?"))


def test_names_of_files_that_are_no_text(tmp_path):
    """Their bytes go into the table as they are."""
    name = os.fsdecode(b"\xff\x1b,.png")
    predictions = Predictions(("path", name), [[Path("a") / name, "\ud800"]])
    predictions.save(tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_bytes() == b'path,"\\udcff\x1b,.png"\n"a/\\udcff\x1b,.png",\\ud800\n'
    predictions = Predictions(("path", name), [[Path("a") / name, "b"]])
    predictions.save(tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_bytes() == b'path,"\xff\x1b,.png"\n"a/\xff\x1b,.png",b\n'
