"""Claims: parsed strictly, judged by the paired interval over seeds, never from one run."""

import numpy as np
import pytest
from scipy import stats

from project.compare.claims import judge, parse_claim
from project.core.errors import UserError

METRICS = ("val/accuracy", "val/loss", "test/accuracy")
RNG = np.random.default_rng(5)


def by_seed(values: np.ndarray) -> dict[int, float]:
    return dict(enumerate(values.tolist(), start=1))


@pytest.mark.parametrize("sign", ["<", ">"])
@pytest.mark.parametrize("shift", [-0.5, -0.02, 0.0, 0.03, 0.5])
def test_a_verdict_between_variants_is_that_of_the_paired_t_test(sign: str, shift: float) -> None:
    first = RNG.normal(0.8, 0.1, 6)
    second = first - shift + RNG.normal(0, 0.05, 6)
    claim = parse_claim(f"val/accuracy: cnn {sign} mlp", ["mlp", "cnn"], METRICS)
    verdict = judge(claim, {"cnn": by_seed(first), "mlp": by_seed(second)}, 6)
    reference = stats.ttest_rel(first, second)
    interval = reference.confidence_interval(0.95)
    assert verdict.difference is not None
    assert verdict.difference.low == pytest.approx(interval.low)
    assert verdict.difference.high == pytest.approx(interval.high)
    expected = "undecided"
    if reference.pvalue < 0.05:
        expected = "holds" if (reference.statistic > 0) == (sign == ">") else "does not hold"
    assert verdict.status == expected
    assert "paired t-test" in str(verdict)


@pytest.mark.parametrize("bound", [0.2, 0.8, 1.4])
def test_a_verdict_against_a_number_is_that_of_the_one_sample_t_test(bound: float) -> None:
    values = RNG.normal(0.8, 0.1, 5)
    claim = parse_claim(f"val/loss: cnn < {bound}", ["cnn"], METRICS)
    verdict = judge(claim, {"cnn": by_seed(values)}, 5)
    reference = stats.ttest_1samp(values, bound)
    expected = "undecided"
    if reference.pvalue < 0.05:
        expected = "holds" if reference.statistic < 0 else "does not hold"
    assert verdict.status == expected
    assert "one-sample" in str(verdict)


def test_it_is_paired_by_seed_and_not_by_order() -> None:
    claim = parse_claim("val/loss: a < b", ["a", "b"], METRICS)
    first = {1: 0.1, 2: 5.0, 3: 9.0}
    second = {3: 9.1, 1: 0.21, 2: 5.11}
    assert judge(claim, {"a": first, "b": second}, 3).status == "holds"


@pytest.mark.parametrize("num_seeds", [1, 2])
def test_less_than_three_seeds_decide_nothing(num_seeds: int) -> None:
    claim = parse_claim("val/loss: a < b", ["a", "b"], METRICS)
    first, second = np.linspace(0, 0.01, num_seeds), np.linspace(9, 9.02, num_seeds)
    verdict = judge(claim, {"a": by_seed(first), "b": by_seed(second)}, num_seeds)
    assert verdict.status == "undecided"
    assert "at least 3 seeds" in verdict.reason


def test_a_seed_that_has_failed_leaves_it_undecided() -> None:
    claim = parse_claim("val/loss: a < b", ["a", "b"], METRICS)
    values = {"a": {1: 0.0, 2: 0.1, 3: 0.0}, "b": {1: 9.0, 2: 9.0, 3: 9.1, 4: 9.0}}
    verdict = judge(claim, values, 4)
    assert (verdict.status, verdict.num_seeds) == ("undecided", 3)
    assert "1 of 4 seeds" in verdict.reason
    assert judge(claim, {"a": {}, "b": {1: 1.0}}, 4).reason == "no run was measured"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("val/accuracy cnn > mlp", "expected a form such as"),
        ("val/accuracy: cnn = mlp", "expected a form such as"),
        ("val/acuracy: cnn > mlp", "did you mean 'val/accuracy'"),
        ("val/accuracy: cnnn > mlp", "did you mean 'cnn'"),
        ("val/accuracy: cnn > mpl", "did you mean 'mlp'"),
        ("val/accuracy: cnn > cnn", "two different variants"),
        ("test/accuracy: cnn > mlp", "isn't of the test set"),
    ],
)
def test_a_claim_about_what_there_is_not_is_refused(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse_claim(text, ["mlp", "cnn"], METRICS)
