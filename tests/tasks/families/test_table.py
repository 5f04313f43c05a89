"""Tables in, predictions in their own units out."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

import mtnets
from mtnets.errors import DataError, OptionError
from mtnets.learner.exported import program_of
from mtnets.tasks.families.splits import split_names
from mtnets.tasks.families.table import Table
from mtnets.tasks.inputs.columns import CategoryColumn
from mtnets.tasks.inputs.table_inputs import TableInputs
from shops import shop_table as rows
from shops import shop_tasks as build

pandas = pytest.importorskip("pandas", reason="tables of these tests are data frames of pandas")
pytest.importorskip("narwhals", reason="data frames are read by narwhals: pip install 'mtnets[table]'")


def test_features_are_standardised_by_rows_of_training_tasks_alone():
    frame = rows()
    family: Any = build(frame)
    training = frame[frame["shop"].isin(family.classes["train"])]
    price = family.inputs.columns[0]
    assert price.mean == pytest.approx(training["price"].mean())
    assert price.spread == pytest.approx(training["price"].std(ddof=0))
    assert family.inputs.features == ("price", "colour = green", "colour = red")
    task = family.test.sample(jax.random.key(0))
    assert task.support.x.shape == (5, 3)
    assert task.support.y.shape == (5, 1)
    assert set(np.unique(task.support.x[:, 1:])) == {0, 1}
    assert family.train.y.size == len(training)
    np.testing.assert_allclose(np.asarray(family.train.y).std(), 1, rtol=1e-5)


def test_no_task_is_in_two_splits_and_each_split_has_one():
    family = build(rows())
    named = [set(names) for names in family.classes.values()]
    assert set.union(*named) == set(rows()["shop"])
    assert sum(map(len, named)) == 12
    for count in (3, 4, 50):
        sizes = [len(names) for names in split_names([str(i) for i in range(count)], (0.64, 0.16, 0.2), 0).values()]
        assert sum(sizes) == count
        assert min(sizes) >= 1
    assert build(rows(), split_seed=1).classes != family.classes


def test_rows_of_several_tasks_are_no_support_set():
    frame = rows()
    columns = build(frame).inputs
    with pytest.raises(DataError, match=r"x has rows of 2 tasks \(shop: shop 0, shop 1\); adapt to the rows of one"):
        columns.for_task(frame[:60], None)
    assert columns.for_task(frame[:30], None) is columns
    assert columns.for_task(frame.drop(columns="shop"), None) is columns


def test_missing_numbers_count_as_the_mean_and_are_told():
    frame = rows()
    frame.loc[::7, "price"] = np.nan
    columns: Any = build(frame).inputs
    assert columns.features[:2] == ("price", "price is missing")
    features = columns.prepare({"price": [np.nan, 12.0], "colour": [None, "blue"]})
    np.testing.assert_allclose(features, [[columns.columns[0].mean, 1, 0, 0], [12, 0, 0, 0]])
    assert columns.scale(features)[0, 0] == pytest.approx(0, abs=1e-6)


def test_numbers_far_from_those_of_training_are_held():
    columns = build(rows()).inputs
    scaled = columns.scale(columns.prepare({"price": [1e9, -1e9], "colour": ["red", "red"]}))
    np.testing.assert_allclose(scaled[:, 0], [4, -4])


def test_a_constant_column_is_nothing():
    columns = build(rows().assign(price=0.1)).inputs
    np.testing.assert_allclose(columns.scale(columns.prepare({"price": [0.1], "colour": ["red"]}))[0, 0], 0, atol=1e-6)


def test_numbers_can_be_categories():
    frame = rows().assign(price=np.arange(360) % 3)
    names = ("price = 0", "price = 1", "price = 2")
    text = frame.astype({"price": str})
    with pytest.raises(DataError, match="Column price holds '0', which is text and looks like a number"):
        build(text)
    for family in (
        build(frame, categories=("price",)),
        build(text, categories="price"),
        build(frame.astype({"price": "category"})),
    ):
        inputs: Any = family.inputs
        assert inputs.features[:3] == names


def test_a_target_of_counts_stays_as_it_is():
    table = {"shop": np.repeat(np.arange(6), 20), "x": np.arange(120.0), "sold": np.tile([0.0, 3.0, 1.0, 5.0], 30)}
    tasks = mtnets.tasks.table(table, "shop", "sold", shots=5, queries=5, scale_target=False)
    drawn = tasks.train.sample(jax.random.key(0))
    assert set(np.concatenate([np.ravel(batch.y) for batch in drawn]).tolist()) <= {0.0, 1.0, 3.0, 5.0}
    assert isinstance(tasks.inputs, TableInputs)
    np.testing.assert_array_equal(tasks.inputs.target.unscale(np.array([2.5])), [2.5])


def test_rows_of_no_task_count_for_nothing():
    frame, family = rows(), build(rows())
    stray = frame[:1].assign(shop=None, price=1e6, sales=np.nan)
    more = build(pandas.concat([stray, frame]))
    assert more.inputs == family.inputs
    key = jax.random.key(3)
    jax.tree.map(np.testing.assert_array_equal, more.test.sample(key), family.test.sample(key))


def test_separators_and_names_of_any_kind(tmp_path):
    frame = rows()
    frame.to_csv(tmp_path / "data.csv", index=False, sep=";")
    options = {"shots": 5, "queries": 5, "ignore": ("good",)}
    assert mtnets.tasks.table(tmp_path / "data.csv", "shop", "sales", **options).inputs == build(frame).inputs
    numbered = frame.set_axis(range(5), axis=1)
    inputs: Any = mtnets.tasks.table(numbered, 0, 3, shots=5, queries=5, ignore=(4,)).inputs
    assert inputs.target.name == "3"


def test_files_as_other_countries_write_them(tmp_path):
    frame = rows()
    frame.to_csv(tmp_path / "data.csv", index=False, sep=";", decimal=",", encoding="utf-16")
    options = {"shots": 5, "queries": 5, "ignore": ("good",)}
    assert mtnets.tasks.table(tmp_path / "data.csv", "shop", "sales", **options).inputs == build(frame).inputs


def test_a_table_that_has_changed_is_not_evaluated(learner):
    with pytest.raises(DataError, match="The table has changed since training, or is another one"):
        mtnets.evaluate(learner, build(rows(41)), 10)
    with pytest.raises(DataError, match="Family 2 reads raw data otherwise than the first does"):
        mtnets.tasks.mixture([build(rows()), build(rows(seed=1))])


def test_classes_are_those_of_the_whole_table():
    frame = rows()
    frame["mood"] = np.where(frame["sales"] > 100, "up", "down")
    family: Any = mtnets.tasks.table(frame, "shop", "mood", features=("price", "colour"), shots=5, queries=5)
    assert family.loss == "cross-entropy"
    assert family.inputs.classes == ("down", "up")
    assert family.train.sample(jax.random.key(0)).support.y.dtype == np.int32
    numbers: Any = build(frame, "good", kind="classification", features=("price",))
    assert numbers.inputs.classes == ("False", "True")


def test_tables_of_any_kind_are_read_alike():
    frame = rows(tasks=4)
    kinds = {"price": "Float64", "colour": "category", "shop": "string", "good": "boolean"}
    columns, same = build(frame).inputs, build(frame.astype(kinds)).inputs
    assert same == columns
    np.testing.assert_array_equal(same.prepare(frame.astype(kinds)), columns.prepare(frame))
    assert build({name: frame[name].to_list() for name in frame}).inputs == columns


@pytest.fixture(scope="module")
def learner():
    family = build(rows(40))
    return mtnets.meta_train(None, mtnets.maml(0.1), family, meta_steps=300, validate_every=0, progress=False)


def test_gradients_are_clipped_for_the_sake_of_rows_far_outside(learner):
    assert (learner.method.inner_clip, learner.record["training"]["clip_norm"]) == (10, 10)
    other = mtnets.meta_train(None, mtnets.maml(inner_clip=3.0), build(rows()), meta_steps=0, clip_norm=2.0)
    assert (other.method.inner_clip, other.record["training"]["clip_norm"]) == (3, 2)
    papers = mtnets.tasks.sinusoid().recipe
    assert papers.inner_clip is papers.clip_norm is None


def test_a_learner_takes_tables_and_predicts_in_units_of_the_target(learner, tmp_path):
    frame = rows(1, seed=5)
    support, query = frame[:10], frame[10:]
    model = learner.adapt(support)
    prediction = model(query)
    assert prediction.shape == (20, 1)
    mean = np.abs(support["sales"].mean() - query["sales"]).mean()
    assert np.abs(prediction[:, 0] - query["sales"].to_numpy()).mean() < mean
    by_arrays = learner.adapt(learner.inputs.prepare(support), support["sales"])
    np.testing.assert_allclose(by_arrays(learner.inputs.prepare(query)), prediction, rtol=1e-5)
    by_mapping = learner.adapt({name: support[name] for name in support}, support["sales"].to_list())
    np.testing.assert_array_equal(by_mapping(query), prediction)
    learner.save(tmp_path)
    again = mtnets.load(tmp_path)
    assert again.inputs == learner.inputs
    np.testing.assert_array_equal(again.adapt(support)(query), prediction)
    model.save(tmp_path / "adapted.safetensors")
    np.testing.assert_array_equal(mtnets.load_adapted(tmp_path / "adapted.safetensors")(query), prediction)
    np.testing.assert_allclose(
        program_of(model, False, None).function(learner.inputs.prepare(query)), prediction, rtol=1e-5
    )


@pytest.mark.parametrize("library", ["polars", "pyarrow", "duckdb"])
def test_a_learner_takes_data_frames_of_other_libraries(learner, library):
    package, arrow = pytest.importorskip(library), pytest.importorskip("pyarrow")
    frame = rows(1, seed=5)
    tables = [arrow.table(dict(part.items())) for part in (frame[:10], frame[10:])]
    if package is not arrow:
        tables = [package.from_arrow(table) for table in tables]
    support, query = tables
    np.testing.assert_array_equal(learner.adapt(support)(query), learner.adapt(frame[:10])(frame[10:]))


def test_many_tables_at_once_are_the_same_as_one_by_one(learner):
    tables = [rows(1, seed=seed) for seed in (5, 6)]
    x = np.stack([learner.inputs.prepare(table) for table in tables])
    y = np.stack([table["sales"] for table in tables])
    many = learner.adapt_many(x, y)(x)
    for i in range(2):
        np.testing.assert_allclose(many[i], learner.adapt(x[i], y[i])(x[i]), rtol=1e-4)


@pytest.mark.slow
def test_a_class_that_the_support_lacks_can_still_be_predicted():
    family = build(rows(), "good", kind="classification")
    learner = mtnets.meta_train(None, mtnets.maml(0.1), family, meta_steps=1, validate_every=0, progress=False)
    support = rows(1).assign(good=True)
    model = learner.adapt(support)
    assert np.isfinite(np.asarray(model(support))).all()


@pytest.mark.slow
def test_the_command_line_trains_evaluates_and_adapts(tmp_path, capsys):
    from mtnets.cli import main

    rows().to_csv(tmp_path / "data.csv", index=False)
    run = str(tmp_path / "run")
    train = ["train", "table", str(tmp_path / "data.csv"), "--task-column", "shop", "--target", "good"]
    train += ["--ignore", "sales", "--kind", "classification", "--shots", "5", "--queries", "5", "--meta-steps", "2"]
    assert main([*train, "--test-tasks", "2", "--validation-tasks", "2", "--quiet", "--out", run]) == 0
    rows(1, seed=3).to_csv(tmp_path / "new.csv", index=False)
    capsys.readouterr()
    assert main(["adapt", run, "--support", str(tmp_path / "new.csv"), "--query", str(tmp_path / "new.csv")]) == 0
    out = capsys.readouterr()
    assert out.out.startswith("shop,row,prediction,probability_False,probability_True\nshop 0,0,")
    assert "accuracy" in out.err
    (tmp_path / "data.csv").rename(tmp_path / "moved.csv")
    assert main(["evaluate", run, "--tasks", "3", "--data", str(tmp_path / "moved.csv")]) == 0


def changed(**columns):
    return rows().assign(**columns)


@pytest.mark.parametrize(
    ("frame", "options", "words"),
    [
        (rows(), {"target": "profit"}, "There is no column 'profit' .target=.*; there are shop, price, colour, sales"),
        (rows(), {"ignore": ("pirce",)}, "There is no column 'pirce' .ignore="),
        (rows(), {"features": ("price", "shop")}, "features is price, shop; it must name columns other than"),
        (changed(shop="a"), {}, "This table has 1 task in column shop; training, validation and test need"),
        (
            rows(each=8),
            {},
            "Task shop 0 has 8 rows, fewer than 5 shots . 5 queries; .* leave_out_small=True",
        ),
        (rows(each=8), {"leave_out_small": True}, "has 0 tasks in column shop of at least 10 rows"),
        (changed(sales=7.0), {}, "sales is 7.0 in all training tasks; choose a target that varies"),
        (changed(price=[*["cheap"] * 9, *[1.0] * 351]), {}, "Column price holds 'cheap' among numbers; correct it"),
        (changed(colour=[f"c{i}" for i in range(360)]), {}, "Column colour has .* different values.*ignore="),
        (changed(price=pandas.Timestamp("2020-01-01")), {}, "Column price holds dates"),
        (changed(price=pandas.Timestamp("2020-01-01", tz="UTC")), {}, "Column price holds dates"),
        (changed(price=np.inf), {}, "price is inf in row"),
        (changed(price=[*[1.0] * 37, np.inf, *[2.0] * 322]), {}, "price is inf in row 37, counted from 0"),
        (changed(price=[*[1.0] * 37, 1e308, *[2.0] * 322]), {}, r"price is 1e\+308 in row 37, .* within ±3.4e\+38"),
        (changed(price=rows()["price"] * 1e40), {}, r"price is .*e\+41 in row .*; expected a finite number within"),
        (changed(price=rows()["price"] * 1e-200), {}, "Column price has numbers up to .*e-199, which single precision"),
        (changed(sales=[1e200, -1e200] * 180), {}, r"sales is 1e\+200 in row .*; expected a finite number within"),
        (changed(sales=1e9 + rows()["price"]), {}, r"sales is 1e\+09 ± .*, which single precision cannot tell apart"),
        (
            changed(price=pandas.Series([*[1] * 359, 10**400], dtype=object)),
            {},
            "price is a whole number of 1329 bits in row 359",
        ),
        (dict(rows()) | {"price": np.ones((360, 2))}, {}, r"Column price has shape \(360, 2\); it must have one cell"),
        (dict(rows()) | {" sales": np.ones(360)}, {}, "Two columns are called 'sales' and ' sales'; rename one"),
        (changed(price=np.nan), {}, "Column price has no value"),
        (changed(sales=[np.nan, *[1.0, 2.0] * 179, 1.0]), {}, "sales is missing in row 0"),
        (changed(sales=[*[1.0, 2.0] * 179, 3.0, None]), {}, "sales is missing in row 359, counted from 0"),
        (rows(), {"target": "colour", "kind": "regression", "ignore": ()}, "colour is green, red, which is not number"),
        (rows(), {"target": "shop"}, "target is 'shop', which is the task column; name the column to predict"),
        (rows(), {"ignore": ("price", "colour", "good")}, "No column is left to predict sales from: .* has price, col"),
        (rows(), {"categories": ("sales",)}, "categories names the target, sales; predict classes: kind="),
        (rows(), {"split_seed": 2**32}, "split_seed is 4294967296; it must be a whole number from 0 to"),
        (rows(), {"shots": 0}, "shots is 0"),
        (rows(), {"kind": "classify"}, "kind is 'classify'"),
        (changed(price=pandas.Timedelta("1 day")), {}, "Column price holds dates or times"),
        (pandas.concat([rows(), rows()["price"]], axis=1), {}, "Two columns are called 'price'"),
        ([{"shop": 1}], {}, "data is of type list; expected a file, a data frame, or a mapping"),
        (rows(), {"splits": (1.0, 0.0, 0.0)}, "splits is"),
    ],
)
def test_a_bad_table_gets_a_sentence(frame, options, words):
    options = {"target": "sales", **options}
    with pytest.raises((DataError, OptionError), match=words):
        build(frame, **options)


def test_bad_rows_in_use_get_a_sentence(learner):
    frame = rows(1)
    with pytest.raises(DataError, match=r"There is no column 'price' \(this learner was trained with it\); there are"):
        learner.adapt(frame.drop(columns=["price"]))
    with pytest.raises(DataError, match="price is a lot in row 2"):
        learner.adapt(frame.astype({"price": object}).replace({frame["price"][2]: "a lot"}))
    with pytest.raises(DataError, match="There is no column 'sales'"):
        learner.adapt(frame.drop(columns=["sales"]))
    with pytest.raises(DataError, match="y is None"):
        learner.adapt(learner.inputs.prepare(frame))
    classes = dataclasses.replace(learner.inputs, target=CategoryColumn("good", ("False", "True")))
    with pytest.raises(DataError, match="good is 'perhaps', which is none of the classes of training: False, True"):
        classes.prepare_targets(["perhaps"])


def test_bad_files_get_a_sentence(tmp_path):
    for name, content, words in (
        ("none.csv", None, "There is no file"),
        ("data.xlsx", "a", "is neither .csv nor .parquet"),
        ("data.parquet", "nothing of the kind", "cannot be read"),
        ("data.csv", "", "cannot be read"),
    ):
        if content is not None:
            (tmp_path / name).write_text(content)
        with pytest.raises(DataError, match=words):
            Table(str(tmp_path / name), "a", "b").build()


def test_numbers_of_many_digits_are_scaled_in_double_precision(tmp_path):
    """As times in seconds since 1970, whose differences single precision would lose."""
    family = build(changed(price=1e9 + rows()["price"]))
    x, y = np.asarray(family.train.x)[..., 0], np.asarray(build(rows()).train.x)[..., 0]
    np.testing.assert_allclose(x, y, atol=1e-5)
    with pytest.raises(OptionError, match=r"Column price is 1e\+09 ± .*, and exported programs compute with it"):
        family.inputs.check_single_precision()
    with pytest.warns(UserWarning, match="Column price is 1e\\+18 but for rounding, and counts as constant"):
        family = build(changed(price=10**18 + np.arange(360)))
    assert np.abs(np.asarray(family.train.x)[..., 0]).max() < 1e-15


def test_thousands_of_columns(tmp_path):
    columns = {f"column {i}": np.arange(360.0) for i in range(6000)}
    assert len(build(dict(rows()) | columns).inputs.features) == 6003
