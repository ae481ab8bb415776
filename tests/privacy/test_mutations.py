"""Each mistake that would undo the privacy of a run makes a named quick test fail.

A copy of the package gets one mistake, and a fresh process runs one test against the copy. So a guard
whose test has gone soft is found here, and not by whoever trusted it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Mutation(NamedTuple):
    """What is changed in which files, and the test that has to fail then."""

    changes: tuple[tuple[str, str, str], ...]
    test: str


def one(file: str, old: str, new: str, test: str) -> Mutation:
    return Mutation(((file, old, new),), test)


NO_CLIPPING = (
    "privacy/clip.py",
    "scale = torch.where(finite, (clip_norm / norms).clamp(max=1.0), 0.0) / step",
    "scale = finite.double() / step",
)
MUTATIONS = {
    "noise left out": one(
        "privacy/plan.py",
        "noisy = gaussian.add_noise(self._total, used.noise_std, source)",
        "noisy = self._total",
        "tests/privacy/test_plan.py::test_the_noise_has_z_times_the_norm_and_neither_a_tenth_more_"
        "nor_less",
    ),
    "half of the noise": one(
        "privacy/plan.py",
        "bound = clip_norm / step * (1 + ROUNDING) + sqrt(plan.size) / 2",
        "bound = clip_norm / step / 2",
        "tests/privacy/test_plan.py::test_the_worst_unit_is_covered_and_not_by_much",
    ),
    "no clipping": Mutation(
        (NO_CLIPPING,),
        "tests/privacy/test_plan.py::test_one_unit_moves_the_release_by_its_own_integers_and_no_more_"
        "than_is_covered",
    ),
    "clip after noise": Mutation(
        (
            NO_CLIPPING,
            (
                "privacy/plan.py",
                "return Released(mean.astype(np.float32), loss,",
                "mean = mean * min(1.0, self.clip_norm / float(np.linalg.norm(mean)))\n"
                "        return Released(mean.astype(np.float32), loss,",
            ),
        ),
        "tests/test_train_units.py::test_training_is_the_slow_loop_over_one_unit_at_a_time",
    ),
    "clients are not clipped": one(
        "run/rounds.py",
        "one = bound(flatten(update.tensors, layout), clip_norm, total.grid.step)",
        "one = bound(flatten(update.tensors, layout), 1e30, total.grid.step)",
        "tests/run/test_private_rounds.py::test_the_weights_move_by_the_clipped_sum_over_the_expected_"
        "number",
    ),
    "batches of a fixed size from a shuffled epoch": one(
        "privacy/sampling.py",
        "return np.flatnonzero(source.words(units) < np.uint64(threshold))",
        "return np.sort(np.argsort(source.words(units))[: round(probability * units)])",
        "tests/privacy/test_sampling.py::test_samples_are_poisson",
    ),
    "noise reused between rounds": one(
        "run/protect.py",
        "plans.source(seed, name, round_index)",
        "plans.source(seed, name)",
        "tests/run/test_private_rounds.py::test_what_leaves_a_client_has_noise_of_its_own_at_the_"
        "right_scale",
    ),
    "noise reused between clients": one(
        "run/protect.py",
        "plans.source(seed, name, round_index)",
        "plans.source(seed, round_index)",
        "tests/run/test_private_rounds.py::test_what_leaves_a_client_has_noise_of_its_own_at_the_"
        "right_scale",
    ),
    "the wrong denominator": one(
        "privacy/plan.py",
        "mean = noisy[: plan.size] * (used.step / plan.expected_units)",
        "mean = noisy[: plan.size] * (used.step / plan.units)",
        "tests/privacy/test_plan.py::test_the_sum_is_divided_by_the_expected_number_and_not_by_those_"
        "who_came",
    ),
    "a release that nobody is charged for": one(
        "run/spending.py",
        'ledger.append("charge", charged | so_far(plans, after))',
        "del charged, after",
        "tests/run/test_spending.py::test_every_release_is_paid_for_on_disk_before_it_is_drawn",
    ),
    "a participation that a crash forgets": one(
        "run/spending.py",
        '        elif record.kind == "drawn":\n            self._take(payload["clients"])\n',
        '        elif record.kind == "drawn":\n            pass\n',
        "tests/run/test_spending.py::test_a_crash_after_the_noise_lets_nobody_take_part_more_often_"
        "than_agreed",
    ),
    "one conversation taken for all of a person": one(
        "run/protect.py",
        "held[name] = max(Counter(owners).values(), default=1)",
        "held[name] = 1",
        "tests/run/test_private_rounds.py::test_a_person_with_several_conversations_moves_the_sum_by_"
        "all_of_them",
    ),
    "a run without noise that leaves no trace": one(
        "run/spending.py",
        "self._budget.note(party.fingerprint for party in self._prepared.parties)",
        "pass",
        "tests/run/test_budget.py::test_nothing_bounds_a_text_that_was_once_read_without_noise",
    ),
}


def ran(source: Path, *tests: str) -> subprocess.CompletedProcess[str]:
    """Tests of this checkout against a copy of the package."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    environment = os.environ | {"PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def copied(folder: Path) -> Path:
    """The package, where a mistake harms nobody."""
    leave = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "src" / "sottovoce", folder / "sottovoce", ignore=leave)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_without_a_mistake_all_of_these_tests_pass(tmp_path: Path) -> None:
    source = copied(tmp_path)
    code = "import sottovoce; print(sottovoce.__file__)"
    environment = os.environ | {"PYTHONPATH": str(source)}
    seen = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert seen.stdout.strip() == str(source / "sottovoce" / "__init__.py"), "the copy is tested"
    done = ran(source, *{mutation.test for mutation in MUTATIONS.values()})
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTATIONS)
def test_every_mistake_makes_its_test_fail(tmp_path: Path, name: str) -> None:
    source = copied(tmp_path)
    for file, old, new in MUTATIONS[name].changes:
        path = source / "sottovoce" / file
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{file} no longer holds {old!r} once"
        path.write_text(text.replace(old, new), encoding="utf-8")
    done = ran(source, MUTATIONS[name].test)
    # 1 says that tests ran and failed; a test that cannot be found or a broken file says otherwise.
    assert done.returncode == 1, done.stdout
    assert "SyntaxError" not in done.stdout
    assert "1 failed" in done.stdout or "FAILED" in done.stdout


def test_every_mistake_still_has_its_place() -> None:
    """At once, so that whoever moves a line learns of it before the slow tests do."""
    for name, mutation in MUTATIONS.items():
        for file, old, _ in mutation.changes:
            text = (ROOT / "src" / "sottovoce" / file).read_text(encoding="utf-8")
            assert text.count(old) == 1, name
        file, _, test = mutation.test.partition("::")
        assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), name
