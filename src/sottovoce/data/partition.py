"""Examples become clients, and a client's examples training and validation. Pure but for numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from sottovoce.data.conversation import Conversation, Message
from sottovoce.errors import ConfigError, DataError
from sottovoce.rng import stream

if TYPE_CHECKING:
    from sottovoce.data.settings import DataSettings

Indices = NDArray[np.intp]

_DRAWS = 100


class Held(Protocol):
    """What can be held by a client: a conversation, a document."""

    @property
    def owner(self) -> str | None:
        """Whose it is, where known."""

    @property
    def client(self) -> str | None:
        """Which party holds it, where the data say so."""


Item = TypeVar("Item", bound=Held)


@dataclass(frozen=True, slots=True)
class ClientData(Generic[Item]):
    """What one client holds.

    Args:
        name: the client's name.
        train: what it trains on, in the order of the data.
        validation: what is held out, in the order of the data.
    """

    name: str
    train: tuple[Item, ...]
    validation: tuple[Item, ...]


def partition_iid(n: int, clients: int, rng: np.random.Generator) -> tuple[Indices, ...]:
    """Deal n examples to clients at random.

    Guarantees:
        - the parts are disjoint, cover all n, are sorted, and their sizes differ by at most one;
        - the same random stream gives the same parts.

    Raises:
        ConfigError: there are fewer examples than clients, or no client.

    >>> parts = partition_iid(5, 2, np.random.default_rng(0))
    >>> sorted(int(i) for part in parts for i in part)
    [0, 1, 2, 3, 4]
    """
    _check_number(n, clients, 1)
    return tuple(np.sort(part) for part in np.array_split(rng.permutation(n), clients))


def partition_dirichlet(
    labels: Sequence[str], clients: int, alpha: float, rng: np.random.Generator, min_examples: int
) -> tuple[Indices, ...]:
    """Deal the examples of each label to clients in shares p ~ Dirichlet(alpha, ..., alpha).

    Args:
        labels: one per example.
        clients: how many parts to make.
        alpha: concentration; towards 0 each label goes to one client, towards infinity all equally.
        rng: the random stream.
        min_examples: what each client must get; the whole is drawn again until each does.

    Guarantees:
        - the parts are disjoint, cover all examples and are sorted;
        - each has at least ``min_examples``;
        - the same random stream gives the same parts.

    Raises:
        ConfigError: alpha is not positive, or 100 draws left a client with too few examples.
    """
    _check_number(len(labels), clients, min_examples)
    if not 0 < alpha < np.inf:
        raise ConfigError(f"dirichlet_alpha is {alpha}", allowed="a positive, finite number")
    groups = partition_by_column(labels).values()
    for _ in range(_DRAWS):
        parts: list[list[Indices]] = [[] for _ in range(clients)]
        for group in groups:
            shares = np.cumsum(rng.dirichlet(np.full(clients, alpha)))[:-1]
            # Rounding the cumulated share, not each share, keeps every example exactly once.
            cuts = np.minimum(np.rint(shares * len(group)), len(group)).astype(np.intp)
            for part, piece in zip(parts, np.split(rng.permutation(group), cuts), strict=True):
                part.append(piece)
        if all(sum(map(len, part)) >= min_examples for part in parts):
            return tuple(np.sort(np.concatenate([*part, np.empty(0, np.intp)])) for part in parts)
    raise ConfigError(
        f"{_DRAWS} draws with dirichlet_alpha = {alpha} each left one of {clients} clients with "
        f"fewer than {min_examples} of {len(labels)} examples",
        remedy="Raise dirichlet_alpha, or lower the number of clients or min_examples",
    )


def partition_by_column(values: Sequence[str]) -> dict[str, Indices]:
    """Group examples by a column's values, sorted by value.

    Guarantees:
        - the parts are disjoint, cover all examples and are sorted.

    >>> {name: part.tolist() for name, part in partition_by_column(["b", "a", "b"]).items()}
    {'a': [1], 'b': [0, 2]}
    """
    found: dict[str, list[int]] = {}
    for index, value in enumerate(values):
        found.setdefault(value, []).append(index)
    return {value: np.array(found[value], np.intp) for value in sorted(found)}


def split_validation(
    owners: Sequence[str | None], fraction: float, rng: np.random.Generator
) -> tuple[Indices, Indices]:
    """Hold out a share of examples, whole owners at a time where owners are known.

    Args:
        owners: one per example; an example without an owner stands alone.
        fraction: the share to hold out, in [0, 1); 0 holds out nothing.
        rng: the random stream.

    Returns:
        Indices of training and of validation examples, each sorted.

    Guarantees:
        - the two are disjoint and cover all; no owner is on both sides;
        - with a fraction above 0 and at least two owners (or examples without one), each side has
          at least one example; with one owner, all is training;
        - validation has at most max(1, fraction of the examples, rounded), unless each owner alone
          has more: then it is one owner with the fewest.

    >>> train, validation = split_validation(["ann", "bob", "ann", None], 0.25, stream(0, "doc"))
    >>> len(train), len(validation)
    (3, 1)
    """
    if not 0 <= fraction < 1:
        raise ConfigError(f"validation_fraction is {fraction}", allowed="at least 0 and below 1")
    found: dict[str | int, list[int]] = {}
    for index, owner in enumerate(owners):
        found.setdefault(index if owner is None else owner, []).append(index)
    units = list(found.values())
    held: list[int] = []
    if fraction > 0 and len(units) > 1:
        most = min(max(1, round(fraction * len(owners))), len(owners) - 1)
        drawn = [units[i] for i in rng.permutation(len(units))]
        for unit in drawn:
            if len(held) + len(unit) <= most:
                held += unit
        held = held or min(drawn, key=len)
    validation = np.array(sorted(held), np.intp)
    return np.setdiff1d(np.arange(len(owners), dtype=np.intp), validation), validation


def make_clients(
    examples: Sequence[Item],
    settings: DataSettings,
    seed: int,
    number_of_clients: int | None = None,
) -> tuple[ClientData[Item], ...]:
    """Deal examples to clients and split each client's into training and validation.

    Args:
        examples: conversations or documents; private.
        settings: what makes a client, how much is held out, and the system prompt.
        seed: the run's seed.
        number_of_clients: how many a partition makes; other rules find them in the data.

    Returns:
        The clients, sorted by name. A partition names them client-1, client-2, ...

    Guarantees:
        - each example is held by exactly one client, on exactly one side;
        - how a client's examples are split depends on that client's examples alone;
        - a conversation without a system turn begins with ``settings.system``, in which "{client}"
          is the name of the client that holds it; other turns are unchanged.

    Raises:
        DataError: an example without a client or label that decides, a client with fewer than
            ``min_examples``, or one whose single owner leaves nothing to hold out.
        ConfigError: the partition cannot be made.
    """
    parts = _deal(examples, settings, seed, number_of_clients)
    small = {name: len(part) for name, part in parts.items() if len(part) < settings.min_examples}
    if small or not parts:
        listed = ", ".join(f"{name!r} ({size})" for name, size in list(small.items())[:20])
        more = f" and {len(small) - 20} more" if len(small) > 20 else ""
        raise DataError(
            f"empty client: {len(small)} of {len(parts)} clients have too few examples: "
            f"{listed or 'there are no examples'}{more}",
            allowed=f"at least {settings.min_examples} examples for each client",
            remedy="Remove these clients from the data, or lower min_examples",
        )
    return tuple(
        _split(name, [examples[i] for i in part], settings, seed)
        for name, part in sorted(parts.items())
    )


def with_system(conversation: Conversation, system: str, client: str) -> Conversation:
    """Begin a conversation that has no system turn with one; "{client}" becomes the client's name.

    >>> with_system(Conversation(()), "You serve {client}.", "Ada").messages[0].content
    'You serve Ada.'
    """
    if any(message.role == "system" for message in conversation.messages):
        return conversation
    first = Message("system", system.replace("{client}", client))
    return replace(conversation, messages=(first, *conversation.messages))


def _deal(
    examples: Sequence[Item], settings: DataSettings, seed: int, number_of_clients: int | None
) -> Mapping[str, Indices]:
    """Say which examples each client holds."""
    if settings.clients not in ("iid", "dirichlet"):
        return partition_by_column(_values(examples, "client"))
    number = number_of_clients
    if number is None:
        raise ConfigError(
            f"data.clients is {settings.clients!r} and the number of clients is not given",
            remedy="Set federation.clients",
        )
    rng = stream(seed, "partition", settings.clients)
    if settings.clients == "iid":
        parts = partition_iid(len(examples), number, rng)
    else:
        labels = _values(examples, "label")
        alpha, least = settings.dirichlet_alpha, settings.min_examples
        parts = partition_dirichlet(labels, number, alpha, rng, least)
    width = len(str(number))
    return {f"client-{n:0{width}}": part for n, part in enumerate(parts, start=1)}


def _values(examples: Sequence[Item], field: str) -> list[str]:
    """Return the client or label of each example; every one must have it."""
    values: list[str | None] = [getattr(example, field, None) for example in examples]
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        source = getattr(examples[values.index(None)], "source", "")
        raise DataError(
            f"{source or 'an example'}: empty {field}: "
            f"{len(values) - len(known)} of {len(values)} examples have none",
            allowed=f"a {field} for each example",
            remedy=f"Name its column with {field}_column, or choose clients otherwise",
        )
    return known


def _split(
    name: str, examples: Sequence[Item], settings: DataSettings, seed: int
) -> ClientData[Item]:
    """Split one client's examples, and give its conversations their system prompt."""
    by_owner = settings.validation_by == "owner"
    owners = [example.owner if by_owner else None for example in examples]
    fraction = settings.validation_fraction
    train, validation = split_validation(owners, fraction, stream(seed, "validation", name))
    if fraction > 0 and len(examples) > 1 and not len(validation):
        raise DataError(
            f"client {name!r} has a single owner, so that no owner can be held out",
            allowed="at least two owners for each client",
            remedy='Write validation_by = "example", or validation_fraction = 0',
        )
    system = settings.system
    if system is not None:
        examples = [_prompted(example, system, name) for example in examples]
    return ClientData(
        name, tuple(examples[i] for i in train), tuple(examples[i] for i in validation)
    )


def _prompted(example: Item, system: str, client: str) -> Item:
    """Give a conversation its system prompt; anything else stays as it is."""
    if not isinstance(example, Conversation):
        return example
    return cast("Item", with_system(example, system, client))


def _check_number(n: int, clients: int, least: int) -> None:
    """Refuse a number of clients that n examples cannot fill."""
    if clients < 1 or n < clients * least:
        raise ConfigError(
            f"{n} examples for {clients} clients with at least {least} each",
            allowed=f"1 to {n // max(least, 1)} clients",
            remedy="Lower the number of clients or min_examples",
        )
