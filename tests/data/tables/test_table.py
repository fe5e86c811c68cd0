"""Tables: fitting on the training split only, column roles, and mistakes."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import configure
from data.own_data import NUM_ROWS, make_frame
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from project.config.build import build_data
from project.core.errors import UserError
from project.data.module import DataModule
from project.data.ratios import Splits
from project.data.splits import cut
from project.data.tables.source import table
from project.models.layers import Scale


@pytest.fixture
def file(tmp_path: Path) -> Path:
    make_frame().to_csv(tmp_path / "houses.csv", index=False)
    return tmp_path / "houses.csv"


def test_features_equal_scikit_learn_fitted_on_train(file: Path) -> None:
    source = table(str(file), "price", ignore=["owner", "sold"])
    data = DataModule(lambda: source)
    frame = pd.read_csv(file)
    numbers, texts = ["area", "rooms"], ["city", "heated"]
    frame[texts] = frame[texts].astype(str).where(frame[texts].notna(), "")
    reference = make_pipeline(
        ColumnTransformer(
            [
                ("numbers", SimpleImputer(strategy="median", add_indicator=True), numbers),
                ("texts", OneHotEncoder(handle_unknown="ignore", sparse_output=False), texts),
            ]
        ),
        StandardScaler(),
    ).fit(frame.iloc[data.split.train])
    scale = Scale(data.spec)
    for samples in (data.train, data.val, data.open_test()):
        actual = scale(torch.from_numpy(samples.inputs[:])).numpy()
        np.testing.assert_allclose(
            actual, reference.transform(frame.iloc[samples.indices]), atol=1e-4
        )
    assert [c.name for c in data.spec.columns] == ["area", "rooms", "city", "heated"]
    assert data.spec.columns[2].categories == ("", "Bonn", "Köln", "Ulm, Süd")
    assert data.spec.num_features == 2 + 1 + 4 + 2


def test_nothing_is_fitted_on_val_and_test(file: Path) -> None:
    plain = DataModule(lambda: table(str(file), "price", ignore=["sold"]))
    frame = pd.read_csv(file)
    elsewhere = np.concatenate([plain.split.val, plain.split.test])
    frame.loc[elsewhere, "area"] = 1e6
    frame.loc[elsewhere, "city"] = "Atlantis"
    frame.to_csv(file, index=False)
    poisoned = DataModule(lambda: table(str(file), "price", ignore=["sold"]))
    assert poisoned.spec == plain.spec
    np.testing.assert_array_equal(poisoned.train.inputs[:], plain.train.inputs[:])
    assert (poisoned.val.inputs[:, 2] == -1).all()  # not in the training split
    assert "Atlantis" not in str(poisoned.spec)


@pytest.mark.parametrize("suffix", [".parquet", ".pq"])
def test_parquet_gives_the_same_as_csv(file: Path, suffix: str) -> None:
    make_frame().drop(columns="sold").to_parquet(file.with_suffix(suffix))
    ours = table(str(file.with_suffix(suffix)), "price")
    theirs = table(str(file), "price", ignore=["sold"])
    assert ours.columns == theirs.columns
    np.testing.assert_allclose(ours.inputs[:], theirs.inputs[:], rtol=1e-6)
    np.testing.assert_allclose(ours.targets, theirs.targets, rtol=1e-6)


@pytest.mark.parametrize(
    ("target", "task", "expected"),
    [
        ("price", "auto", "regression"),
        ("rooms", "auto", "classification"),
        ("rooms", "regression", "regression"),
        ("owner", "auto", "regression"),  # 30 whole numbers
        ("owner", "classification", "classification"),
        ("city", "auto", "classification"),
        ("heated", "auto", "classification"),
    ],
)
def test_the_task_follows_from_the_target(
    target: str, task: str, expected: str, file: Path
) -> None:
    source = table(str(file), target, task, ignore=["sold"])  # type: ignore[arg-type]
    assert source.task == expected
    frame = pd.read_csv(file).dropna(subset=[target])
    if expected == "classification":
        names = [source.classes[i] for i in source.targets]
        assert names == frame[target].astype(str).tolist()
    else:
        np.testing.assert_allclose(source.targets, frame[target], rtol=1e-6)


def test_whole_numbers_are_classes_in_the_order_of_numbers(tmp_path: Path) -> None:
    pd.DataFrame({"x": range(60), "y": [2, 10, -1] * 20}).to_csv(tmp_path / "a.csv")
    source = table(str(tmp_path / "a.csv"), "y")
    assert source.classes == ("-1", "2", "10")
    assert source.targets[:3].tolist() == [1, 2, 0]
    assert [column.name for column in source.columns] == ["x"]  # not pandas's row numbers


def test_rows_without_a_target_are_skipped_and_listed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,2.5\n2,\n3,4.5\n4,NA\n5,6.5\n")
    source = table(str(tmp_path / "a.csv"), "y")
    assert source.targets.tolist() == [2.5, 4.5, 6.5]
    assert source.skipped == (("row 2", "no target"), ("row 4", "no target"))


def test_groups_stay_in_one_split_and_are_not_a_feature(file: Path) -> None:
    source = table(str(file), "price", ignore=["sold"], group_by="owner")
    split = cut(source, Splits())
    owners = pd.read_csv(file)["owner"].to_numpy()
    parts = [set(owners[getattr(split, name)]) for name in ("train", "val", "test")]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]
    assert abs(len(split.test) / NUM_ROWS - 0.3) < 0.05
    assert "owner" not in [column.name for column in source.columns]


def test_train_is_before_val_and_val_before_test(file: Path) -> None:
    source = table(str(file), "price", time_column="sold")
    split = cut(source, Splits())
    sold = pd.to_datetime(pd.read_csv(file)["sold"]).to_numpy()
    assert sold[split.train].max() < sold[split.val].min()
    assert sold[split.val].max() < sold[split.test].min()
    assert [len(split.train), len(split.val), len(split.test)] == [120, 20, 60]


def test_samples_of_one_time_stay_in_one_split(tmp_path: Path) -> None:
    days = np.repeat(np.arange(10), 10)
    frame = pd.DataFrame({"day": days, "x": np.arange(100.0), "y": np.arange(100) / 7})
    frame.to_csv(tmp_path / "a.csv", index=False)
    split = cut(
        table(str(tmp_path / "a.csv"), "y", time_column="day"),
        Splits(train=0.55, val=0.2, test=0.25),
    )
    parts = [set(days[getattr(split, name)]) for name in ("train", "val", "test")]
    assert sum(map(len, parts)) == 10
    assert max(parts[0]) < min(parts[1]) <= max(parts[1]) < min(parts[2])


def test_balanced_sampling_draws_each_class_as_often(tmp_path: Path) -> None:
    pd.DataFrame({"x": range(200), "y": ["a"] * 180 + ["b"] * 20}).to_csv(tmp_path / "a.csv")
    config = configure(
        "data=table", f"data.file={tmp_path}/a.csv", "data.target=y", "data.balanced_sampling=true"
    )
    data = build_data(config)
    loader = data.train_dataloader()
    loader.sampler.set_epoch(3)  # type: ignore[attr-defined]
    targets = torch.cat([targets for _, targets in loader])
    again = torch.cat([targets for _, targets in loader])
    assert 0.35 < targets.float().mean().item() < 0.65  # a tenth without
    assert torch.equal(targets, again)
    assert data.spec.class_counts == (108, 12)
    assert (data.val.targets == 1).mean() == 0.1  # val keeps its class frequencies


def test_class_weights_equal_scikit_learn_and_apply_in_training_only(tmp_path: Path) -> None:
    from sklearn.utils.class_weight import compute_class_weight

    from project.config.build import build_model

    pd.DataFrame({"x": range(200), "y": ["a"] * 180 + ["b"] * 20}).to_csv(tmp_path / "a.csv")
    config = configure(
        "data=table", f"data.file={tmp_path}/a.csv", "data.target=y", "loss.class_weights=balanced"
    )
    data = build_data(config)
    task = build_model(config, data.spec).task
    weights = compute_class_weight("balanced", classes=np.arange(2), y=data.train.targets)
    np.testing.assert_allclose(task.class_weights.numpy(), weights, rtol=1e-6)
    logits, targets = torch.randn(64, 2), torch.randint(0, 2, (64,))
    weighted = torch.nn.functional.cross_entropy(
        logits, targets, weight=torch.tensor(weights, dtype=torch.float32)
    )
    assert task.train().loss(logits, logits, targets).item() == pytest.approx(weighted.item())
    plain = torch.nn.functional.cross_entropy(logits, targets)
    assert task.eval().loss(logits, logits, targets).item() == pytest.approx(plain.item())


def change(**columns: object) -> Callable[[Path], None]:
    def write(file: Path) -> None:
        pd.read_csv(file).assign(**columns).to_csv(file, index=False)

    return write


def text(content: str | bytes) -> Callable[[Path], None]:
    def write(file: Path) -> None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())

    return write


def nothing(file: Path) -> None:
    pass


SOLD: dict[str, object] = {"ignore": ["sold"]}
BAD: dict[str, tuple[Callable[[Path], None], dict[str, object], str]] = {
    "no such file": (lambda f: f.unlink(), {}, "there is no such file: expected a CSV or Parquet"),
    "an empty file": (text(""), {}, "the file is empty: expected a line of column names"),
    "only names": (text("area,price\n"), {}, "the table has no rows"),
    "semicolons": (text("area;price\n1;2\n"), {}, "separated by semicolons: expected commas"),
    "tabs": (text("area\tprice\n1\t2\n"), {}, "separated by tabs: expected commas"),
    "bars": (text("area|price\n1|2\n"), {}, "separated by bars: expected commas"),
    "no target column": (nothing, {"target": "prize"}, "no column 'prize': did you mean 'price'?"),
    "a constant target": (change(price=3), SOLD, "column 'price' is constant, all its values are"),
    "an empty target": (change(price=None), SOLD, "column 'price' is empty: expected values"),
    "an empty column": (change(area=None), SOLD, "column 'area' is empty: expected values, or"),
    "doubled names": (text("a,a,price\n1,2,3\n"), {}, "column 'a' is listed twice: expected one"),
    "no name": (text("a,,price\n1,2,3\n"), {}, "column 2 has no name"),
    "no name of the first": (text(",a,price\n5,2,3\n4,2,2\n"), {}, "column 1 has no name"),
    "latin-1": (text("city,price\nKöln,2\n".encode("latin-1")), {}, "is not UTF-8"),
    "lines of other lengths": (text("a,price\n1,2\n1,2,3,4\n"), {}, "can't be read (Error tok"),
    "an infinite number": (text("a,price\n1,2.5\ninf,3.5\n"), {}, "column 'a': inf in row 2"),
    "too large a number": (text("a,price\n1,2.5\n1e300,3.5\n"), {}, "column 'a': 1e+300 in row 2"),
    "a word among numbers": (
        change(rooms=["many", *range(NUM_ROWS - 1)]), SOLD, "column 'rooms': 'many' in row 1 is not"
    ),
    "names of people": (
        change(name=[f"n{i}" for i in range(NUM_ROWS)]),
        SOLD,
        "column 'name' has 200 different texts in 200 rows, too many for categories: expected "
        "data.ignore=['sold','name'], or data.time_column= for dates",
    ),
    "more values than names": (
        text("a,b,price\n1,5,2,5\n1,5,3,5\n"), {}, "rows have more values than there are column"
    ),
    "commas behind all values": (
        text("a,b,price\n1,5,2,\n1,5,3,\n"), {}, "rows have more values than there are column"
    ),
    "thousands with commas": (
        change(rooms=[f"{i:,}" for i in range(900, 900 + NUM_ROWS)]),
        SOLD,
        "column 'rooms': '1,000' in row 101 is not a number, unlike most of its values",
    ),
    "prices with a currency": (
        change(price=[f"${i}.50" for i in range(NUM_ROWS)]), SOLD, "'$0.50' in row 1 is not"
    ),
    "numbers that 32 bits can't hold": (
        change(rooms=range(1_700_000_000, 1_700_000_000 + NUM_ROWS)),
        SOLD,
        "column 'rooms': 1700000000 to 1700000199 are too close together for 32-bit numbers",
    ),
    "a target that 32 bits can't hold": (
        change(price=np.arange(NUM_ROWS) / 2 + 1.7e9), SOLD, "column 'price': 1700000000 to"
    ),
    "days or months first": (
        change(sold=[f"{1 + i % 12:02}/{1 + i % 11:02}/2020" for i in range(NUM_ROWS)]),
        {"time_column": "sold"},
        "'01/01/2020' can be read in two ways, day first or month first: expected a number, or",
    ),
    "a missing group": (
        change(owner=[None, *range(NUM_ROWS - 1)]), {**SOLD, "group_by": "owner"}, "row 1 has no g"
    ),
    "a class only in the latest rows": (
        change(city=["a", "b"] * 90 + ["c"] * 20, sold=range(NUM_ROWS)),
        {"target": "city", "time_column": "sold"},
        "data.time_column: class 'c' is missing from train: expected samples of it among the ",
    ),
    "groups that are classes": (
        change(owner=[1, 2, 3, 4] * 50, city=["a", "b", "c", "d"] * 50),
        {**SOLD, "target": "city", "group_by": "owner"},
        "data.group_by: class ",
    ),
    "an unknown column to ignore": (nothing, {"ignore": ["solt"]}, "did you mean 'sold'?"),
    "an unknown group": (nothing, {"group_by": "owned"}, "data.group_by: "),
    "an unknown time": (nothing, {"time_column": "when"}, "data.time_column: "),
    "one group": (change(owner=1), {**SOLD, "group_by": "owner"}, "one group can't be divided"),
    "one time": (change(sold=1), {"time_column": "sold"}, "too many samples have the same"),
    "no time": (
        change(sold=["2020-01-01", "soon"] * 100), {"time_column": "sold"}, "'soon' in row 2: expec"
    ),
    "group and time": (
        nothing, {"group_by": "owner", "time_column": "sold"}, "can't be combined with data.gro"
    ),
    "texts to regress": (
        nothing, {**SOLD, "target": "city", "task": "regression"}, "holds texts: expected numbers"
    ),
    "no feature": (
        text("price\n1.5\n2.5\n"), {}, "no column is left to predict from"
    ),
    "a class of two": (
        change(city=["a", "b"] + ["c"] * (NUM_ROWS - 2)),
        {**SOLD, "target": "city"},
        "data.splits.test: class 'a' has 1 sample:",
    ),
    "a column missing in train": (
        change(area=[1.0] + [None] * (NUM_ROWS - 1), rooms=range(NUM_ROWS)),
        {"ignore": ["sold"], "time_column": "rooms", "late": True},
        "column 'area': all its training values are missing",
    ),
    "no parquet": (
        lambda f: f.with_suffix(".parquet").write_text("no"),  # type: ignore[dict-item]
        {"file": ".parquet"},
        "can't be read",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_is_reported_in_one_line(name: str, file: Path) -> None:
    spoil, arguments, message = BAD[name]
    spoil(file)
    keywords = {"target": "price", **arguments}
    if keywords.pop("late", False):  # the only value is in the latest row, which is a test one
        pd.read_csv(file).assign(rooms=-np.arange(NUM_ROWS)).to_csv(file, index=False)
    keywords["file"] = str(file.with_suffix(str(keywords.get("file", ".csv"))))
    with pytest.raises(UserError) as caught:
        DataModule(lambda: table(**keywords))  # type: ignore[arg-type]
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", ["%d/%m/%Y", "%d.%m.%Y", "%m/%d/%Y", "%Y-%m-%d", "%d %b %Y"])
def test_dates_in_any_one_format_are_in_their_order(form: str, file: Path) -> None:
    days = pd.date_range("2020-01-01", periods=NUM_ROWS)
    change(sold=days.strftime(form).tolist(), rooms=range(NUM_ROWS))(file)
    data = DataModule(lambda: table(str(file), "price", time_column="sold"))
    assert data.split.train.max() < data.split.val.min()
    assert data.split.val.max() < data.split.test.min()


@pytest.mark.parametrize("mark", ["?", "N/A", "-", "null"])
def test_marks_between_numbers_are_missing_values(mark: str, file: Path) -> None:
    change(rooms=[mark if i % 4 == 0 else i for i in range(NUM_ROWS)])(file)
    data = DataModule(lambda: table(str(file), "price", ignore=["sold"]))
    (rooms,) = (column for column in data.spec.columns if column.name == "rooms")
    assert rooms.categories is None
    assert rooms.is_flagged
    marked = table(str(file), "rooms", task="regression", ignore=["sold"])
    assert len(marked.skipped) == NUM_ROWS // 4


def test_decimals_of_a_database_are_numbers(file: Path) -> None:
    frame = make_frame().drop(columns="sold")
    frame["price"] = [Decimal(f"{value:.2f}") for value in frame["price"]]
    frame.to_parquet(file.with_suffix(".parquet"))
    source = table(str(file.with_suffix(".parquet")), "price")
    assert not source.classes
    np.testing.assert_allclose(source.targets, frame["price"].astype(float), rtol=1e-6)


@pytest.mark.parametrize("values", [[1, 2], {"a": 1}, b"\xff"])
@pytest.mark.parametrize("role", ["feature", "target", "group"])
def test_nested_values_are_refused_but_where_they_are_ignored(
    values: object, role: str, file: Path
) -> None:
    frame = make_frame().drop(columns="sold").assign(odd=[values] * NUM_ROWS)
    path = file.with_suffix(".parquet")
    frame.to_parquet(path)
    target, group_by = ("odd" if role == "target" else "price"), "odd" if role == "group" else None
    with pytest.raises(UserError, match=r"column 'odd' holds values of type .*: expected numbers"):
        table(str(path), target, group_by=group_by)
    assert len(table(str(path), "price", ignore=["odd"]).targets) == NUM_ROWS


def test_dates_are_not_a_feature(file: Path) -> None:
    make_frame().to_parquet(file.with_suffix(".parquet"))
    with pytest.raises(UserError, match=r"column 'sold' holds dates: expected .* data\.time_"):
        table(str(file.with_suffix(".parquet")), "price")


@pytest.mark.parametrize("columns", [["a"], ["t"], ["g"], ["a", "g"], ["a", "t"]])
def test_tables_of_numbers_or_texts_alone_become_features(
    columns: list[str], tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"a": random.normal(size=90), "g": random.normal(size=90), "t": ["x", "y", "z"] * 30}
    )
    frame.loc[::3, "g"] = np.nan
    frame[columns].assign(y=random.normal(size=90)).to_csv(tmp_path / "a.csv", index=False)
    data = DataModule(lambda: table(str(tmp_path / "a.csv"), "y"))
    scale = Scale(data.spec)
    features = scale(torch.from_numpy(data.train.inputs[:]))
    assert features.shape == (54, data.spec.num_features)
    assert torch.isfinite(features).all()
    np.testing.assert_allclose(features.mean(0), 0, atol=1e-5)
    exported = torch.export.export(
        scale, (torch.zeros(2, len(columns)),), dynamic_shapes=({0: torch.export.Dim("n")},)
    )
    again = exported.module()(torch.from_numpy(data.train.inputs[:]))
    np.testing.assert_array_equal(again, features)
