"""Many updates to one, in floating point, where single updates or the sums of groups may be seen.

The engine itself sums integers (``codec/fixed_point.py``); the weighted mean here is the slow,
exact reference that it is compared with. The other rules are robust: a few rows that somebody made
up cannot take the result where they like, as they can with a mean.

    rule               arbitrary rows          the result stays
    median             f < n/2                 among the other rows' entries, in every column
    trimmed mean       f < n/2, f known        likewise
    geometric median   f < n/2                 at r·(1 - f/n)/√(1 - 2f/n), all others within r
    Krum, multi-Krum   n >= 2f + 3, f known    near one of the other rows

How near, each rule says under its guarantees. A robust rule takes rows ``[n, D]``: few of them, and
long. It goes through blocks of columns, so that it needs little memory beside them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cmp_to_key
from math import fsum, inf, sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sottovoce.errors import ConfigError, VerificationError
from sottovoce.update import Layout, Update

Rows = NDArray[np.float32] | NDArray[np.float64]
Vector = NDArray[np.float64]

LARGEST_ENTRY: Final = 2.0**400
"""Up to this, no square of a distance between rows overflows."""

# The entries of all rows that are held in float64 at a time: 8 MiB.
_BLOCK: Final = 2**20
# Of the geometric median: the smoothing as a share of the median distance, the norm of the gradient
# that is small enough as a share of n, and how many steps are taken at most.
_SMOOTHING: Final = 2.0**-10
_TOLERANCE: Final = 1e-6
_MOST_STEPS: Final = 10_000


def weighted_mean(updates: Sequence[Update]) -> dict[str, NDArray[np.float64]]:
    """Average updates by their number of examples: Σ n_k·x_k / Σ n_k.

    McMahan et al. 2017, Algorithm 1, last line. Each entry is summed without rounding errors
    (``math.fsum``), one entry at a time: slow, and beyond dispute.

    Args:
        updates: at least one, with equal names and shapes. Private.

    Returns:
        float64 tensors.

    Guarantees:
        - the order of the updates does not change a bit;
        - each entry lies within two roundings of float64 of the exact mean.

    Raises:
        VerificationError: no updates, different names or shapes, a value that is not finite, or no
            examples at all.

    >>> one = Update({"a": np.array([1.0], np.float32)}, "x", 1, 1, 8, 0.0)
    >>> two = Update({"a": np.array([4.0], np.float32)}, "y", 2, 1, 8, 0.0)
    >>> weighted_mean([one, two])["a"].tolist()
    [3.0]
    """
    total = sum(update.examples for update in updates)
    if total < 1:
        raise VerificationError(
            f"{len(updates)} updates with {total} examples in all",
            allowed="at least one update with at least one example",
        )
    layout = Layout({name: tuple(v.shape) for name, v in updates[0].tensors.items()})
    for update in updates:
        layout.check(update.tensors)
        for name, value in update.tensors.items():
            if not np.isfinite(value).all():
                raise VerificationError(
                    f"tensor {name!r} of client {update.client!r} holds a value that is not finite",
                    allowed="finite numbers",
                )
    return {name: _mean(name, shape, updates, total) for name, shape in layout.shapes.items()}


def median(rows: Rows) -> Vector:
    """Take the middle value of every column, or the mean of the two middle ones.

    Yin et al. 2018 (arXiv 1803.01498), definition 1.

    Args:
        rows: ``[n, D]``, one row for each client or group. Private.

    Returns:
        ``[D]``.

    Guarantees:
        - the order of the rows does not change a bit, and one row is itself;
        - rows that are moved together move the result with them, to rounding;
        - while fewer than half of the rows are arbitrary, every entry of the result lies between
          the smallest and the largest entry that the other rows have there;
        - beside the rows and the result, 64 MiB are enough whatever D is.

    Raises:
        VerificationError: no rows, not a matrix of floats, or an entry that is not finite or is
            beyond ``LARGEST_ENTRY``; names the row.

    >>> median(np.array([[1.0, 5.0], [2.0, -1e30], [4.0, 7.0]])).tolist()
    [2.0, 5.0]
    """
    _require_rows(rows)
    return _mean_of_the_middle(rows, (len(rows) - 1) // 2)


def trimmed_mean(rows: Rows, *, trim: int) -> Vector:
    """Average every column without its f smallest and its f largest entries.

    Yin et al. 2018 (arXiv 1803.01498), definition 2.

    Args:
        rows: ``[n, D]``, one row for each client or group. Private.
        trim: f, below n/2. Public.

    Returns:
        ``[D]``.

    Guarantees:
        - the order of the rows does not change a bit, one row is itself, and so are equal ones;
        - rows that are moved together move the result with them, to rounding;
        - while at most f rows are arbitrary, every entry of the result lies between the smallest
          and the largest entry that the other rows have there;
        - each entry is the exact one to n·2^-52 of the largest that was averaged;
        - beside the rows and the result, 64 MiB are enough whatever D is.

    Edge cases: f = 0 is the mean.

    Raises:
        ConfigError: f is negative, or n is not above 2f.
        VerificationError: as for ``median``.

    >>> trimmed_mean(np.array([[1.0], [2.0], [4.0], [1e30]]), trim=1).tolist()
    [3.0]
    """
    _require_rows(rows)
    _require_whole("trim", trim, least=0)
    if len(rows) <= 2 * trim:
        raise ConfigError(
            f"trim is {trim} for {len(rows)} rows",
            allowed="less than half of the rows",
            remedy=f"Write trim = {(len(rows) - 1) // 2} or less, or take {2 * trim + 1} rows",
        )
    return _mean_of_the_middle(rows, trim)


def geometric_median(rows: Rows) -> Vector:
    """Find the point whose distances to all rows have the smallest sum: argmin_z Σ‖x_i - z‖.

        z ← Σ β_i·x_i / Σ β_i,   β_i = 1/max(ν, ‖x_i - z‖)

    The smoothed Weiszfeld algorithm of Pillutla et al. 2022 (arXiv 1912.13445), algorithm 2, from
    the columns' median, with ν = 2^-10 of the rows' median distance from there, and with longer
    steps while they lead down. When a point on the way first has some row as its nearest, that row
    is tried by Kuhn's condition (1973, *A note on Fermat's problem*): it is the answer if the unit
    vectors from it to the others add up to no more than the number of rows that equal it. So where
    a row is the answer, it is returned exactly.

    Args:
        rows: ``[n, D]``, one row for each client or group. Private.

    Returns:
        ``[D]``.

    Guarantees:
        - the order of the rows does not change a bit, one row is itself, and so are equal ones;
        - rows that are moved together move the result with them, to the tolerance;
        - the steepest descent of the sum, smoothed by ν, is at most n·10^-6 at the result;
        - while f < n/2 rows are arbitrary, however far, and the others lie within r of any point
          c, the result lies within r·max(1 + (1 + √n)/1024, 1/√(1 - s²)) of c, with
          s = (f + n·10^-6)/(n - f) (Minsker 2015, lemma 2.1, without the tolerance);
        - beside the rows and the result, 64 MiB and eight vectors are enough whatever D is.

    Edge cases: of two rows it is the point halfway, of one column the median, and where more than
    half of the rows are equal it is that row. Differences below 10^-150 count as none.

    Raises:
        VerificationError: as for ``median``, or 10,000 steps were not enough.

    >>> geometric_median(np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [1e9, 1e9]])).round(6).tolist()
    [1.0, 1.0]
    """
    _require_rows(rows)
    order, origin = _by_content(rows), median(rows)
    # A point is told by its offset from the columns' median, where rounding hurts least.
    here = np.zeros_like(origin)
    distances = _distances(rows, order, origin, here)
    smallest = _SMOOTHING * float(np.median(distances))
    if not smallest:
        return origin
    tried: set[int] = set()
    last, length, stretch, back = here, inf, 1.0, (here, distances)
    for _ in range(_MOST_STEPS):
        weights = 1 / np.maximum(distances, smallest)
        step = _mean_away(rows, order, weights, origin, here)
        if _norm(step) * weights.sum() <= _TOLERANCE * len(rows):
            return origin + here
        if stretch > 1 and np.einsum("i,i->", step, last) < 0:
            # The stretched step went beyond the lowest point on its line.
            (here, distances), length, stretch = back, inf, 1.0
            continue
        nearest = order[int(distances.argmin())]
        if nearest not in tried and _is_minimal(rows, order, nearest):
            return _row(rows, nearest)
        tried.add(nearest)
        # Where steps hardly shrink, a long row of them points the same way.
        stretch = 2 * stretch if _norm(step) > 0.7 * length else 1.0
        last, length, back = step, _norm(step), (here, distances)
        here = here + stretch * step
        distances = _distances(rows, order, origin, here)
    raise VerificationError(
        f"the geometric median of {len(rows)} rows is not found in {_MOST_STEPS} steps",
        remedy="Take the median or the trimmed mean, which need none",
    )


def krum(rows: Rows, *, faulty: int) -> Vector:
    """Choose the row that lies closest to its n - f - 2 nearest others.

        s(i) = Σ ‖x_i - x_j‖² over the n - f - 2 nearest j,   the row of the smallest s

    Blanchard et al. 2017 (arXiv 1703.02757), section 4.

    Args:
        rows: ``[n, D]``, one row for each client or group. Private.
        faulty: f, at most (n - 3)/2. Public.

    Returns:
        ``[D]``, one of the rows: whoever sees it sees that row.

    Guarantees:
        - the order of the rows does not change a bit: of rows that score the same, the one that
          comes first by content is chosen;
        - rows that are moved together move the result with them, where no rounding interferes;
        - while at most f rows are arbitrary and no two of the others are further apart than d, the
          result lies within d·√((n - f - 2)/(n - 2f - 1)) of one of the others;
        - beside the rows and the result, 64 MiB are enough whatever D is, for up to 1,000 rows.

    Raises:
        ConfigError: f is negative, or n < 2f + 3.
        VerificationError: as for ``median``.

    >>> krum(np.array([[1.0], [2.0], [2.5], [4.0], [1e9]]), faulty=1).tolist()
    [2.0]
    """
    return multi_krum(rows, faulty=faulty, keep=1)


def multi_krum(rows: Rows, *, faulty: int, keep: int) -> Vector:
    """Average the m rows that ``krum`` scores best.

    Blanchard et al. 2017 (arXiv 1703.02757), section 6, *Multi-Krum*.

    Args:
        rows: ``[n, D]``, one row for each client or group. Private.
        faulty: f, at most (n - 3)/2. Public.
        keep: m, 1 to n - f. Public.

    Returns:
        ``[D]``.

    Guarantees:
        - those of ``krum``; the last one holds for every row that is averaged.

    Raises:
        ConfigError: f is negative, n < 2f + 3, or m is not 1 to n - f.
        VerificationError: as for ``median``.

    >>> multi_krum(np.array([[1.0], [2.0], [2.5], [4.0], [1e9]]), faulty=1, keep=3).round(3).tolist()
    [1.833]
    """
    _require_rows(rows)
    count = len(rows)
    _require_whole("faulty", faulty, least=0)
    if count < 2 * faulty + 3:
        most = max(0, (count - 3) // 2)
        raise ConfigError(
            f"Krum with {count} rows of which {faulty} may be faulty",
            allowed=f"{2 * faulty + 3} rows or more",
            remedy=f"Take more clients or groups, or write faulty = {most}"
            if count >= 3
            else "Take more clients or groups, or the median",
        )
    _require_whole("keep", keep, least=1)
    if keep > count - faulty:
        raise ConfigError(
            f"keep is {keep} for {count} rows of which {faulty} may be faulty",
            allowed=f"1 to {count - faulty}",
        )
    order = _by_content(rows)
    # Of each row's distances the first is the one to itself.
    squares = np.sort(_squared_distances(rows, order), axis=1)[:, 1 : count - faulty - 1]
    # Equal scores stay in the order of the content.
    best = np.argsort(squares.sum(axis=1), kind="stable")[:keep]
    kept = [order[place] for place in best.tolist()]
    result = np.empty(rows.shape[1])
    for columns in _blocks(rows):
        result[columns] = _wide(rows, columns, kept).sum(axis=0) / keep
    return result


def _require_rows(rows: Rows) -> None:
    if rows.ndim != 2 or rows.dtype not in (np.float32, np.float64) or not len(rows):
        raise VerificationError(
            f"rows of type {rows.dtype} and shape {rows.shape}",
            allowed="a float32 or float64 matrix of at least one row",
        )
    usable = np.ones(len(rows), np.bool_)
    for columns in _blocks(rows):
        # No comparison is true of what is not a number.
        usable &= (np.abs(_wide(rows, columns)) <= LARGEST_ENTRY).all(axis=1)
    if not usable.all():
        raise VerificationError(
            f"row {int(usable.argmin())} holds an entry that is not a number of a usable size",
            allowed="finite numbers up to 2^400",
        )


def _require_whole(name: str, number: int, *, least: int) -> None:
    if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < least:
        raise ConfigError(f"{name} is {number!r}", allowed=f"an integer, {least} or more")


def _blocks(rows: Rows) -> Iterator[slice]:
    """Cut the columns so that all rows' part of a block stays small."""
    width = max(1, _BLOCK // len(rows))
    for begin in range(0, rows.shape[1], width):
        yield slice(begin, begin + width)


def _wide(rows: Rows, columns: slice, order: Sequence[int] | slice = slice(None)) -> Vector:
    """Copy a block to float64; adding zero makes one zero of the two, whose signs are content."""
    part: Vector = rows[order, columns].astype(np.float64)
    part += 0.0
    return part


def _row(rows: Rows, number: int) -> Vector:
    row: Vector = rows[number].astype(np.float64)
    row += 0.0
    return row


def _mean_of_the_middle(rows: Rows, trim: int) -> Vector:
    count, result = len(rows) - 2 * trim, np.empty(rows.shape[1])
    for columns in _blocks(rows):
        block = np.sort(_wide(rows, columns), axis=0)[trim : trim + count]
        # Rounding must not take a mean beyond what was averaged.
        result[columns] = (block.sum(axis=0) / count).clip(block[0], block[-1])
    return result


def _by_content(rows: Rows) -> list[int]:
    """Order the rows by their first column, then by their second, and so on.

    What is added up in this order does not depend on the order in which the rows came. Moving all
    rows together does not change it.
    """

    def compare(one: int, other: int) -> int:
        for columns in _blocks(rows):
            left, right = rows[one, columns], rows[other, columns]
            differing = np.flatnonzero(left != right)
            if differing.size:
                return -1 if left[differing[0]] < right[differing[0]] else 1
        return 0

    return sorted(range(len(rows)), key=cmp_to_key(compare))


def _away(rows: Rows, columns: slice, order: Sequence[int], *offsets: Vector) -> Vector:
    """Read a block as seen from a point, which is the sum of the offsets."""
    away = _wide(rows, columns, order)
    for offset in offsets:
        away -= offset[columns]
    return away


def _distances(rows: Rows, order: Sequence[int], *offsets: Vector) -> Vector:
    squares = np.zeros(len(rows))
    for columns in _blocks(rows):
        away = _away(rows, columns, order, *offsets)
        squares += np.einsum("ij,ij->i", away, away)
    return np.sqrt(squares)


def _mean_away(rows: Rows, order: Sequence[int], weights: Vector, *offsets: Vector) -> Vector:
    """Average the rows as seen from a point: how far the weighted mean is from there."""
    result, shares = np.empty(rows.shape[1]), weights / weights.sum()
    for columns in _blocks(rows):
        result[columns] = np.einsum("i,ij->j", shares, _away(rows, columns, order, *offsets))
    return result


def _is_minimal(rows: Rows, order: Sequence[int], number: int) -> bool:
    """Kuhn's condition: the others pull at this row with no more than its own weight."""
    row = _row(rows, number)
    distances = _distances(rows, order, row)
    others = distances > 0
    weights = np.divide(1.0, distances, out=np.zeros_like(distances), where=others)
    pull = _norm(_mean_away(rows, order, weights, row)) * weights.sum()
    return bool(pull <= len(rows) - others.sum() + _TOLERANCE * len(rows))


def _norm(vector: Vector) -> float:
    return sqrt(np.einsum("i,i->", vector, vector))


def _squared_distances(rows: Rows, order: Sequence[int]) -> NDArray[np.float64]:
    """Square the distances of all pairs, ``[n, n]``, from the differences themselves.

    Products of rows would do with less work, and lose everything where one row is far away.
    """
    squares = np.zeros((len(rows), len(rows)))
    for columns in _blocks(rows):
        block = _wide(rows, columns, order)
        for place in range(len(rows) - 1):
            away = block[place + 1 :] - block[place]
            squares[place, place + 1 :] += np.einsum("ij,ij->i", away, away)
    return squares + squares.T


def _mean(
    name: str, shape: tuple[int, ...], updates: Sequence[Update], total: int
) -> NDArray[np.float64]:
    rows = [
        (update.tensors[name].astype(np.float64) * update.examples).ravel().tolist()
        for update in updates
    ]
    entries = [fsum(column) / total for column in zip(*rows, strict=True)]
    return np.array(entries, np.float64).reshape(shape)
