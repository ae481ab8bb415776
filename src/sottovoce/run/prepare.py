"""From a configuration to parties with token sequences and a model that can be trained."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from sottovoce.config import MARKETPLACE, Config, write_config
from sottovoce.data.clean import clean
from sottovoce.data.conversation import Conversation
from sottovoce.data.dialogues import DemoQuestion, conversations, demo_questions
from sottovoce.data.documents import Document
from sottovoce.data.load import load, load_text
from sottovoce.data.market import Market
from sottovoce.data.marketplace import build_market
from sottovoce.data.partition import make_clients
from sottovoce.errors import ConfigError, DataError, VerificationError
from sottovoce.model.adapters import LoraModel
from sottovoce.model.base import load_base, model_folder
from sottovoce.model.full import FullModel
from sottovoce.model.tokenizer import Tokenizer, load_tokenizer
from sottovoce.rng import stream
from sottovoce.run.circle import Circle, meet
from sottovoce.run.cleaning import scrubber_of
from sottovoce.run.cohorts import devices_of
from sottovoce.run.known import Fellows
from sottovoce.run.protect import Plans, make_plans, plans_of, units_inside
from sottovoce.run.sending import part_of
from sottovoce.tasks.chat import EncodeSummary, encode_all, encode_chat
from sottovoce.tasks.pretrain import encode_text
from sottovoce.train import Example
from sottovoce.update import Layout, Tensors, unflatten

if TYPE_CHECKING:
    from hashlib import _Hash as HASH

PER_SHOP = 320
"""Conversations of each shop of the generated marketplace: one per customer."""


@dataclass(frozen=True)
class Party:
    """One client's data, ready to train on. Private but the name.

    Args:
        name: the client.
        train: token sequences to train on.
        validation: token sequences held out, whole owners at a time where owners are known.
        units: whose each held-out sequence is: the owner where known, else its conversation, None
            for plain text. Intervals resample these.
        held_out: the held-out conversations themselves; empty for plain text.
        text_sha256: of all its text, held out or not; empty where only sequences are at hand.
    """

    name: str
    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    units: tuple[str | None, ...]
    held_out: tuple[Conversation, ...] = ()
    text_sha256: str = ""

    @property
    def fingerprint(self) -> str:
        """What tells this party's text from any other, however it is split and cut."""
        return self.text_sha256 or examples_sha256(self.train)


@dataclass(frozen=True)
class Prepared:
    """Everything that a federation in one process needs.

    Args:
        config: the resolved configuration.
        parties: the clients, sorted by name.
        model: the base model with its trainable rows.
        tokenizer: the base model's.
        table: what was loaded and skipped and why, as rows for display; the first is the header.
        plans: how every contribution is protected.
        fellows: all clients of the federation, where only some of them are here.
    """

    config: Config
    parties: tuple[Party, ...]
    model: LoraModel | FullModel
    tokenizer: Tokenizer
    table: tuple[tuple[str, ...], ...]
    plans: Plans = field(default_factory=Plans)
    fellows: Fellows | None = None

    @property
    def layout(self) -> Layout:
        """Of one row of trainable weights."""
        return self.model.layout

    @cached_property
    def _known(self) -> Fellows:
        units = self.plans.units
        return self.fellows or Fellows(
            {party.name: len(units.get(party.name, ())) for party in self.parties},
            max((len(party.train) for party in self.parties), default=1),
        )

    @property
    def clients(self) -> tuple[str, ...]:
        """All clients of the federation, sorted, whether their text is here or not."""
        return self._known.clients

    @property
    def unit_counts(self) -> Mapping[str, int]:
        """How many units each client holds; 0 where units don't lie inside clients."""
        return self._known.unit_counts

    @property
    def heaviest_client(self) -> int:
        """Examples of the client that has most."""
        return self._known.heaviest_client

    @cached_property
    def _by_name(self) -> dict[str, Party]:
        return {party.name: party for party in self.parties}

    def party(self, name: str) -> Party:
        """The party of this name."""
        return self._by_name[name]

    @cached_property
    def judged(self) -> tuple[Party, ...]:
        """The parties whose held-out conversations are scored: all, or a draw from the seed."""
        count = self.config.run.evaluate_clients
        if count is None or count >= len(self.clients):
            return self.parties
        drawn = stream(self.config.seed, "evaluated").permutation(len(self.clients))[:count]
        names = {self.clients[place] for place in drawn}
        return tuple(party for party in self.parties if party.name in names)

    @cached_property
    def circle(self) -> Circle | None:
        """The clients as they have met for masked sums in this process; None without these."""
        secure = self.config.secure
        if secure.aggregation not in ("secagg", "helpers"):
            return None
        config_sha256 = sha256(write_config(self.config)).digest()
        helpers = secure.helpers if secure.aggregation == "helpers" else 0
        return meet([party.name for party in self.parties], config_sha256, helpers=helpers)

    @cached_property
    def data_sha256(self) -> str:
        """SHA-256 over every party's token sequences, trained on and held out."""
        digest = sha256()
        for party in self.parties:
            digest.update(f"{party.name}\0{len(party.train)}\0{len(party.validation)}".encode())
            for example in (*party.train, *party.validation):
                _update(digest, example)
        return digest.hexdigest()


def _text_sha256(texts: Iterable[str]) -> str:
    """SHA-256 over texts in any order."""
    each = sorted(sha256(text.encode()).digest() for text in texts)
    return sha256(b"".join(each)).hexdigest()


def examples_sha256(examples: Iterable[Example]) -> str:
    """SHA-256 over token sequences and whose they are."""
    digest = sha256()
    for example in examples:
        _update(digest, example)
        digest.update(f"{example.owner}\0".encode())
    return digest.hexdigest()


def _update(digest: HASH, example: Example) -> None:
    digest.update(len(example.tokens).to_bytes(8, "big"))
    digest.update(np.asarray(example.tokens, "<i4").tobytes())
    digest.update(np.packbits(example.supervised).tobytes())


def prepare(config: Config) -> Prepared:
    """Load data and model, split, tokenise, and count what became of everything.

    Raises:
        DataError, ModelError, ConfigError: with the file, line or key at fault.
    """
    tokenizer = _tokenizer(config)
    parties, table = load_parties(config, tokenizer)
    model = _model(config)
    _require_fitting_cohort(config, len(parties))
    devices_of(config.federation.devices, [party.name for party in parties], config.seed)
    held = {party.name: party.train for party in parties}
    plans = make_plans(config, held, model.layout.size, sent_sizes(config, _initial(config, model)))
    return Prepared(config, parties, model, tokenizer, table, plans)


def prepare_site(config: Config, name: str) -> Prepared:
    """Load one client's data, and the model, before it is known who else takes part.

    Whatever the data say of clients, all of it is this client's. It has no privacy plan yet, so it
    cannot train under one: ``with_fellows`` comes first.

    Raises:
        DataError, ModelError, ConfigError: as ``prepare``.
    """
    tokenizer = _tokenizer(config)
    parties, table = load_parties(config, tokenizer, client=name)
    return Prepared(config, parties, _model(config), tokenizer, table)


def with_fellows(prepared: Prepared, fellows: Fellows) -> Prepared:
    """A client's data and model, with everybody who takes part and the plans that follow.

    Args:
        prepared: of ``prepare_site``.
        fellows: all clients of the federation, this one among them.

    Raises:
        VerificationError: this client is not among them, or with another number of units.
        ConfigError: the settings contradict who takes part.
    """
    config, model = prepared.config, prepared.model
    [party] = prepared.parties
    units = units_inside(config, {party.name: party.train})
    own = len(units.get(party.name, ()))
    if fellows.unit_counts.get(party.name) != own:
        raise VerificationError(
            f"the server says that {party.name!r} holds "
            f"{fellows.unit_counts.get(party.name)} units, and it holds {own}",
            remedy="Nothing is trained; start the run again",
        )
    _require_fitting_cohort(config, len(fellows.clients))
    devices_of(config.federation.devices, fellows.clients, config.seed)
    sent = sent_sizes(config, _initial(config, model))
    everywhere = len(fellows.clients) if units else 1
    plans = plans_of(config, fellows.unit_counts, model.layout.size, sent, sites=everywhere)
    return replace(prepared, plans=replace(plans, units=units), fellows=fellows)


def _tokenizer(config: Config) -> Tokenizer:
    torch.set_num_threads(config.run.threads)
    folder = model_folder(config.model.path)
    return load_tokenizer(folder, offline=not config.model.allow_download)


def _model(config: Config) -> LoraModel | FullModel:
    base = load_base(config.model)
    _require_fitting_lengths(config, base.model.config)
    model = FullModel(base) if config.model.train == "full" else LoraModel(base, config.model.lora)
    if config.train.gradient_checkpointing:
        model.checkpoint_activations()
    _require_something_shared(config, model.layout)
    return model


def _require_fitting_cohort(config: Config, clients: int) -> None:
    wanted = config.federation.clients_per_round
    if wanted is not None and wanted > clients:
        raise ConfigError(f"federation.clients_per_round is {wanted}", allowed=f"at most {clients}")
    least = config.federation.minimum_clients
    if least > (most := wanted or clients):
        raise ConfigError(f"federation.minimum_clients is {least}", allowed=f"at most {most}")


def sent_sizes(config: Config, weights: Tensors) -> frozenset[int]:
    """Entries of what a client sends, in every kind of round; none where nothing depends on it.

    Args:
        config: the whole.
        weights: any of the model's shapes; what they are does not matter.
    """
    if config.privacy.trust != "none":
        return frozenset()
    algorithm = config.federation.strategy.algorithm
    first = algorithm.first(weights)
    rounds = range(min(2, config.federation.rounds))
    states = (replace(first, round=index) for index in rounds)
    return frozenset(
        part_of(Layout(algorithm.sent(state)).size, config.secure.keep) for state in states
    )


def _initial(config: Config, model: LoraModel | FullModel) -> Tensors:
    return unflatten(model.initial(config.seed), model.layout)


def load_parties(
    config: Config, tokenizer: Tokenizer, client: str | None = None
) -> tuple[tuple[Party, ...], tuple[tuple[str, ...], ...]]:
    """Load, split and tokenise the data of all parties, with a table of what was used.

    Args:
        config: the whole.
        tokenizer: the base model's.
        client: whose all of the data are, whatever they say themselves; None believes them.
    """
    if config.task == "pretrain":
        return _text_parties(config, tokenizer, client)
    if config.data.path == MARKETPLACE:
        talks: Sequence[Conversation] = _marketplace(config)
        rows: list[tuple[str, ...]] = [
            ("file", "format", "loaded", "skipped", "why"),
            ("marketplace", "generated", str(len(talks)), "0", ""),
        ]
        if config.data.scrubs or config.data.deduplicate:
            scrubber = scrubber_of(config.data) if config.data.scrubs else None
            talks, removed = clean(talks, scrubber, deduplicate=config.data.deduplicate)
            rows += removed.rows(config.data.scrub or "off")
    else:
        loaded = load(config.data, Path.cwd(), scrubber_of(config.data))
        talks = loaded.conversations
        rows = list(loaded.summary.table())
    if client is not None:
        talks = [replace(talk, client=client) for talk in talks]
    clients = make_clients(talks, config.data, config.seed, config.federation.clients)
    parties, total = [], EncodeSummary()
    for own in clients:
        train, summary = encode_all(own.train, tokenizer, config.train.max_length)
        total += summary
        held_out: list[Example] = []
        units: list[str | None] = []
        for talk in own.validation:
            pieces, summary = encode_chat(talk, tokenizer, config.train.max_length)
            total += summary
            held_out += pieces
            units += [talk.owner or talk.source] * len(pieces)
        parties.append(
            Party(
                own.name,
                tuple(train),
                tuple(held_out),
                tuple(units),
                tuple(own.validation),
                _text_sha256(
                    # Not where it was read, nor how it was dealt: a moved file is the same text.
                    repr((talk.owner, talk.messages))
                    for talk in (*own.train, *own.validation)
                ),
            )
        )
    _require_examples(parties)
    return tuple(parties), (*rows, *_length_rows(total))


def _text_parties(
    config: Config, tokenizer: Tokenizer, client: str | None
) -> tuple[tuple[Party, ...], tuple[tuple[str, ...], ...]]:
    loaded = load_text(config.data, Path.cwd(), scrubber_of(config.data))
    documents: Sequence[Document] = loaded.documents
    if client is not None:
        documents = [replace(document, client=client) for document in documents]
    clients = make_clients(documents, config.data, config.seed, config.federation.clients)
    length = config.train.max_length

    def encode(some: Sequence[Document]) -> tuple[Example, ...]:
        text = "\n\n".join(document.text for document in some)
        return tuple(encode_text(text, tokenizer, length))

    parties = []
    for own in clients:
        held_out = encode(own.validation)
        text = _text_sha256(one.text for one in (*own.train, *own.validation))
        train = encode(own.train)
        parties.append(Party(own.name, train, held_out, (None,) * len(held_out), text_sha256=text))
    _require_examples(parties)
    return tuple(parties), tuple(loaded.summary.table())


def marketplace_questions(config: Config) -> tuple[DemoQuestion, ...]:
    """Three questions of the generated marketplace that no conversation of it holds."""
    market, written = _market(config.seed)
    return demo_questions(market, written)


@lru_cache(maxsize=1)
def _market(seed: int) -> tuple[Market, tuple[Conversation, ...]]:
    market = build_market(seed)
    return market, tuple(conversations(market, seed, per_shop=PER_SHOP))


def _marketplace(config: Config) -> list[Conversation]:
    made = list(_market(config.seed)[1])
    limit = config.data.max_conversations
    if limit is None or limit >= len(made):
        return made
    keep = np.sort(stream(config.seed, "marketplace").permutation(len(made))[:limit])
    return [made[place] for place in keep]


def _require_examples(parties: Sequence[Party]) -> None:
    for party in parties:
        if not party.train or not party.validation:
            raise DataError(
                f"client {party.name!r} has {len(party.train)} sequences to train on and "
                f"{len(party.validation)} held out, after cutting to train.max_length",
                allowed="at least one of each",
                remedy="Raise data.validation_fraction or train.max_length, or merge small clients",
            )


def _require_fitting_lengths(config: Config, model_config: object) -> None:
    limit = getattr(model_config, "max_position_embeddings", None)
    if isinstance(limit, int) and config.train.max_length > limit:
        raise ConfigError(
            f"train.max_length is {config.train.max_length}",
            allowed=f"at most {limit}, the positions that {config.model.path} has",
        )


def _require_something_shared(config: Config, layout: Layout) -> None:
    """A pattern that fits no tensor is a slip that would send what was meant to stay."""
    strategy = config.federation.strategy
    names = list(layout.shapes)
    for pattern in getattr(strategy, "private", ()):
        if not fnmatch.filter(names, pattern):
            raise ConfigError(
                f"federation.strategy.private has {pattern!r}, which fits no tensor",
                allowed=f"patterns over names such as {names[0]}",
            )
    if all(map(strategy.algorithm.private, names)):
        raise ConfigError(
            "federation.strategy.private fits every tensor, so nothing would be shared",
            remedy="Name fewer tensors",
        )


def _length_rows(total: EncodeSummary) -> list[tuple[str, ...]]:
    notes = [
        (total.cut, "conversations cut at turn boundaries for length"),
        (total.truncated, "exchanges shortened, too long on their own"),
        (total.dropped, "exchanges dropped, no supervised token fits"),
    ]
    rows: list[tuple[str, ...]] = [
        ("all", "tokens", str(total.kept), "0", f"{total.tokens} tokens")
    ]
    return rows + [("all", "tokens", "", str(count), why) for count, why in notes if count]
