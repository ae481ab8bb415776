"""How a federation across machines begins at its server, and how one is taken up again."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from sottovoce.codec.fixed_point import WEIGHT_LIMIT
from sottovoce.codec.oneshot.messages import read_key
from sottovoce.config import Config, write_config
from sottovoce.errors import ConfigError, RefusedError, VerificationError
from sottovoce.run import folder as folders
from sottovoce.run import letter as letters
from sottovoce.run.claims import planned
from sottovoce.run.cohorts import devices_of
from sottovoce.run.desk import Host, asking, count_price, count_round, helped, hides, took_part
from sottovoce.run.folder import RunFolder
from sottovoce.run.gather import Check, gather
from sottovoce.run.helper_terms import KEY, KEYS, roots_of
from sottovoce.run.identity import packages, require_same_config
from sottovoce.run.known import Federation, Fellows
from sottovoce.run.ledger import Record, read
from sottovoce.run.letter import Letter
from sottovoce.run.mailbox import Mailbox
from sottovoce.run.prepare import sent_sizes
from sottovoce.run.protect import plans_of
from sottovoce.run.rounds import digest, model_tensors
from sottovoce.run.shared import (
    layout_of_facts,
    shared_config,
    tensors_of,
)
from sottovoce.run.state import read_state
from sottovoce.run.sum_terms import any_weights
from sottovoce.run.sums import cohorts_of, require_summable
from sottovoce.update import Tensors

_AGREE = ("layout", "first_sha256", "model_sha256", "tokenizer_sha256", "adapter_config")
"""What all sites have to say alike."""
_MOST = 2**31
"""Units and steps of one site; nobody has so many."""


def run_of(config: Config, folder: RunFolder, *, begun: bool) -> str:
    """The name of the run of a folder, drawn once; from then on its configuration stands.

    Args:
        config: the whole.
        folder: of the run.
        begun: whether its ledger has a line.

    Raises:
        ConfigError: sites may have been told of another configuration.
        VerificationError: the name of a run that has begun is gone.
    """
    place = _name_of_run(folder)
    if place.is_file():
        require_same_config(config, folder)
    elif begun:
        raise VerificationError(
            f"{place} is missing, and sites know the run by what stands there",
            remedy="Restore it from a copy, or choose another run.dir",
        )
    else:
        folders.write_bytes(folder.config, write_config(config))
        folders.write_bytes(place, secrets.token_hex(32).encode())
    return folders.read_bytes(place).decode(errors="replace")


def _name_of_run(folder: RunFolder) -> Path:
    return folder.root / "run.id"


def start_run(one: Host) -> None:
    """Let sites join, see that they agree, and begin with those that came."""
    config, post = one.config, one.post
    mail = one.mail("begin")
    try:
        facts, refused, weights = _met(one, mail)
        keys = _announced(one, mail)
    except (RefusedError, VerificationError):
        # Nothing is reserved at any site yet. Who starts again once they agree starts another run:
        # in this one each site stands by what it has told.
        mail.empty()
        _name_of_run(one.folder).unlink(missing_ok=True)
        raise
    masked = hides(config) and not helped(config)
    told = {
        **_fellows(one.known),
        "commitments": {site: told["commitment"] for site, told in facts.items()} if masked else {},
        **keys,
    }
    begin = {site: asking(post, "begin", site, told, {}) for site in sorted(facts)}
    begun, _ = gather(post, mail, "begin", begin, least=len(begin))
    server = config.federation.strategy.algorithm.first(weights)
    tensors = model_tensors(server)
    folders.write_tensors(one.folder.weights(0), tensors)
    one.start = one.ledger.append(
        "start",
        _facts(one, facts, digest(tensors))
        | {
            "refused": refused,
            "commitments": told["commitments"],
            "nonces": {site: told.facts["nonce"] for site, told in begun.items()} if masked else {},
            **keys,
        },
    )
    mail.empty()
    one.server = server
    _ready(one)


def _met(one: Host, mail: Mailbox) -> tuple[dict[str, Mapping[str, Any]], dict[str, str], Tensors]:
    """Ask all to join, and then whether they are willing.

    Returns:
        What those that are have told, what the others said, and the first weights.
    """
    config, post = one.config, one.post
    shared, members = shared_config(config), sorted(post.roster.members)
    least = max(2, config.federation.minimum_clients)
    asks = {
        site: asking(post, "join", site, {"members": members}, {"config": shared})
        for site in members
    }
    joined, refused = gather(post, mail, "join", asks, least=least, check=_require_joined(one))
    facts = {site: letter.facts for site, letter in joined.items()}
    _require_agreement(facts)
    left, declined = _offered(one, mail, facts, least)
    return left, refused | declined, _first_weights(one, left)


def _announced(one: Host, mail: Mailbox) -> dict[str, Any]:
    """Ask every helper for its key of the run; what the ledger and the sites are told of them.

    Each of a site's seeds has to be sealed for all who hold it, so that no run begins without one.
    """
    post, helpers = one.post, one.post.helpers
    if helpers is None:
        return {}
    run, roots = bytes.fromhex(post.run), roots_of(post.roster, helpers)

    def check(answer: Letter) -> None:
        read_key(letters.part(answer, KEY), answer.sender, helpers, run)

    asks = {name: asking(post, "announce", name, roots, {}) for name in helpers.members}
    shown, _ = gather(post, mail, "announce", asks, least=len(asks), check=check)
    keys = {name: letters.part(shown[name], KEY).hex() for name in sorted(shown)}
    return {KEYS: keys, "helpers_root": helpers.root.hex()}


def _require_joined(one: Host) -> Check:
    """What a site has to tell of itself, as far as a server can judge it alone."""
    masked, helpers = hides(one.config) and not helped(one.config), one.post.helpers

    def check(answer: Letter) -> None:
        facts = answer.facts
        letters.count(facts, "units", _MOST)
        letters.count(facts, "heaviest", WEIGHT_LIMIT - 1)
        letters.count(facts, "steps", _MOST)
        letters.count(facts, "examples")
        layout_of_facts(facts)
        for name in ("first_sha256", "model_sha256", "tokenizer_sha256"):
            letters.text(facts, name)
        if facts.get("adapter_config") is not None:
            letters.table(facts, "adapter_config")
        if masked:
            letters.text(facts, "commitment")
        if helpers is not None and letters.text(facts, "helpers_root") != helpers.root.hex():
            raise VerificationError(
                f"{answer.sender!r} has pinned other helpers than network.helpers names",
                remedy="Compare the lines; every party has the same",
            )

    return check


def _require_agreement(facts: Mapping[str, Mapping[str, Any]]) -> None:
    sites = sorted(facts)
    for key in _AGREE:
        for site in sites[1:]:
            if facts[site].get(key) != facts[sites[0]].get(key):
                raise VerificationError(
                    f"sites {sites[0]!r} and {site!r} have another {key}",
                    allowed="one base model, tokenizer and first adapter at all sites",
                    remedy="Install the same model everywhere, then start again",
                )


def _known(config: Config, facts: Mapping[str, Mapping[str, Any]]) -> Federation:
    counts = {site: letters.count(told, "units") for site, told in sorted(facts.items())}
    heaviest = max(letters.count(told, "heaviest") for told in facts.values())
    layout = layout_of_facts(facts[min(facts)])
    inside = config.privacy.unit != "none" and config.privacy.inside_clients
    plans = plans_of(
        config,
        counts,
        layout.size,
        sent_sizes(config, any_weights(config.seed, layout)),
        sites=len(counts) if inside else 1,
    )
    return Federation(config, layout, Fellows(counts, heaviest), plans)


def _offered(
    one: Host, mail: Mailbox, facts: Mapping[str, Mapping[str, Any]], least: int
) -> tuple[dict[str, Mapping[str, Any]], dict[str, str]]:
    """Offer the run to those that joined, and anew without those that decline, until all agree.

    Nobody has opened a nonce by then, so that leaving a site out tells this server nothing that it
    could choose a beacon by.

    Returns:
        What those that agree have told, and what the others said.
    """
    left, declined = dict(facts), dict[str, str]()
    for attempt in range(len(facts)):
        one.known = _known(one.config, left)
        require_summable(one.known)
        told = _fellows(one.known)
        asks = {site: asking(one.post, "offer", site, told, {}) for site in sorted(left)}
        agreed, refused = gather(one.post, mail, f"offer-{attempt}", asks, least=least)
        declined |= refused
        if set(agreed) == set(left):
            break
        left = {site: left[site] for site in sorted(agreed)}
    return left, declined


def _fellows(known: Federation) -> dict[str, Any]:
    """Who takes part, as every site has to know it before it can ask its policy."""
    return {
        "unit_counts": dict(known.unit_counts),
        "heaviest_client": known.heaviest_client,
    }


def _first_weights(one: Host, facts: Mapping[str, Mapping[str, Any]]) -> Tensors:
    """The weights that everybody starts from: one site sends them, all have named their hash."""
    algorithm = one.config.federation.strategy.algorithm
    said: dict[str, str] = {}

    def check(answer: Letter) -> None:
        first = algorithm.first(_weights_in(one.known, answer))
        if digest(model_tensors(first)) != facts[answer.sender]["first_sha256"]:
            raise VerificationError(f"{answer.sender!r} sent other weights than it named")

    for site in sorted(facts):
        mail = one.mail("begin")
        asks = {site: asking(one.post, "first", site, {}, {})}
        sent, refused = gather(one.post, mail, f"first-{site}", asks, least=0, check=check)
        if site in sent:
            return _weights_in(one.known, sent[site])
        said |= refused
    raise VerificationError(
        "no site sent the weights that everybody starts from: "
        f"{'; '.join(said.values()) or 'all are late'}"
    )


def _weights_in(known: Federation, answer: Letter) -> Tensors:
    weights = tensors_of(letters.part(answer, "model"), f"the weights of {answer.sender!r}")
    known.layout.check(weights)
    return weights


def _facts(one: Host, facts: Mapping[str, Mapping[str, Any]], sha: str) -> dict[str, Any]:
    """The first line of the ledger."""
    known, config = one.known, one.config
    any_site = facts[min(facts)]
    return {
        "run": one.post.run,
        "packages": packages(),
        "config_sha256": sha256(write_config(config)).hexdigest(),
        "shared_config_sha256": sha256(shared_config(config)).hexdigest(),
        "roster_root": one.post.roster.root.hex(),
        "model_sha256": any_site["model_sha256"],
        "tokenizer_sha256": any_site["tokenizer_sha256"],
        "weights_sha256": sha,
        "parameters": known.layout.size,
        "layout": any_site["layout"],
        "adapter_config": any_site["adapter_config"],
        "clients": list(known.clients),
        "units": dict(known.unit_counts),
        "heaviest_client": known.heaviest_client,
        "steps": {site: letters.count(told, "steps") for site, told in facts.items()},
        "examples": {site: letters.count(told, "examples") for site, told in facts.items()},
        "privacy": config.privacy.model_dump(),
        "secure": config.secure.model_dump(),
        "claim": planned(known.plans),
    }


def _ready(one: Host) -> None:
    """Draw the cohorts up to the round to come."""
    payload: Mapping[str, Any] = one.start.payload
    one.steps = {site: int(count) for site, count in payload["steps"].items()}
    federation, seed = one.config.federation, one.config.seed
    devices = devices_of(federation.devices, one.known.clients, seed)
    one.cohorts = cohorts_of(one.known, one.steps, devices)
    for _ in range(one.server.round):
        next(one.cohorts)


def resume_run(one: Host) -> None:
    """Read a run back from its folder, checking every file against the ledger."""
    require_same_config(one.config, one.folder)
    rounds: list[Record] = []
    for record in read(one.folder.ledger):
        payload: Mapping[str, Any] = record.payload
        match record.kind:
            case "start":
                one.start = record
            case "round":
                rounds.append(record)
            case "drawn":
                took_part(one, payload["clients"])
            case "charge":
                count_price(one, payload)
            case "evaluation":
                one.evaluated, one.loss = payload["round"], payload["loss"]
            case "personal":
                one.gains = dict(payload["gains"])
            case "end":
                one.ended = True
    told: Mapping[str, Any] = one.start.payload
    _require_same_names(one, told)
    facts = {
        site: {"units": told["units"][site], "heaviest": told["heaviest_client"]}
        | {"layout": told["layout"]}
        for site in told["clients"]
    }
    one.known = _known(one.config, facts)
    for record in rounds:
        count_round(one, record.payload)
    last = rounds[-1] if rounds else None
    one.server = read_state(one.known, one.folder, str(told["weights_sha256"]), last)
    folders.mend(one.folder, one.evaluated)
    _forget_played(one)
    _ready(one)


def _forget_played(one: Host) -> None:
    """Remove what a server that was killed had no time to remove, because it is in the ledger."""
    current = one.folder.state(one.server.round)
    for path in sorted(current.parent.glob("*.safetensors")):
        if path != current:
            path.unlink()
    for place in sorted((one.folder.root / "mail").glob("*")):
        played = place.name == "begin" or (
            place.name.isdecimal() and int(place.name) < one.server.round
        )
        if played or one.ended:
            one.mail(place.name).empty()


def _require_same_names(one: Host, began: Mapping[str, Any]) -> None:
    """Refuse to go on under another name, or with other members."""
    if began["run"] != one.post.run:
        raise VerificationError(
            f"{_name_of_run(one.folder)} holds another name than the ledger",
            remedy="Restore it from a copy",
        )
    if began["roster_root"] != one.post.roster.root.hex():
        raise ConfigError(
            "network.roster is another than the one that the run began with",
            remedy="Write the same lines, or choose another run.dir",
        )
    helpers = one.post.helpers
    if helpers is not None and began["helpers_root"] != helpers.root.hex():
        raise ConfigError(
            "network.helpers are others than those that the run began with",
            remedy="Write the same lines, or choose another run.dir",
        )
