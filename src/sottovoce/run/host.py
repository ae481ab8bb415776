"""The server of a federation across machines: a durable state machine over the run folder.

It needs no model and sees no text. Whatever it must know of the sites they have told it; whatever
came is on disk before it counts; and a round is over when its line stands in the ledger. Killed at
any moment and started again, it goes on where it was, and asks again for what it has not got.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from sottovoce.codec.roster import Identity, Roster
from sottovoce.config import Config, NetworkSettings
from sottovoce.errors import ConfigError, VerificationError
from sottovoce.model.peft_format import write_adapter
from sottovoce.run import folder as folders
from sottovoce.run import letter as letters
from sottovoce.run.claims import ended
from sottovoce.run.desk import Host, asking, helped, most_spent, spent_of, told_spent
from sottovoce.run.enrol import roster_of
from sottovoce.run.gather import Carrier, Log, Post, gather
from sottovoce.run.host_begin import resume_run, run_of, start_run
from sottovoce.run.host_round import note_evaluation, play_one
from sottovoce.run.known import Known
from sottovoce.run.ledger import Ledger
from sottovoce.run.letter import Letter
from sottovoce.run.rounds import digest, model_tensors
from sottovoce.run.shared import model_parts


def host(config: Config, identity: Identity, roster: Roster, carrier: Carrier, log: Log) -> Host:
    """Run a federation to its end, or go on with one that was interrupted.

    Args:
        config: with the section ``[network]``.
        identity: what the server signs with. Private.
        roster: the sites.
        carrier: who carries letters to them.
        log: told what happens.

    Guarantees:
        - killed at any moment and called again, it ends with the same model, bit for bit, where no
          site was lost and no noise is cryptographic;
        - a round is the exact sum of those whose answers count, or there is none.

    Raises:
        ConfigError: the configuration does not go with a network, or with the folder.
        RefusedError: the privacy budget ends before the rounds do.
        VerificationError: sites that do not agree, or too few of them.
    """
    network = require_networked(config)
    folder = folders.create(Path(config.run.dir), resume=True)
    folder.root.chmod(0o700)
    with folders.on_disk(folder.root), Ledger.open(folder.ledger) as ledger:
        run = run_of(config, folder, begun=ledger.count > 0)
        limit, deadline = network.limit_bytes, network.round_deadline_s
        helpers = roster_of(network.helpers)[0] if helped(config) else None
        post = Post(run, identity, roster, carrier, limit, deadline, log, helpers)
        one = Host(config, folder, ledger, post)
        if ledger.count:
            resume_run(one)
        else:
            start_run(one)
        while one.server.round < config.federation.rounds and not one.ended:
            play_one(one)
        if not one.ended:
            _finish(one)
    return one


def require_networked(config: Config) -> NetworkSettings:
    """Refuse what does not go across machines, before anything is written.

    Returns:
        The section ``[network]``.

    Raises:
        ConfigError: with the key and what to write in its place.
    """
    if config.network is None:
        raise ConfigError("there is no section [network]", remedy="Write address and roster there")
    federation, secure = config.federation, config.secure
    unfit = {
        "federation.asynchronous": federation.asynchronous is not None,
        "secure.group_size": secure.group_size is not None,
        'secure.aggregation = "he"': secure.aggregation == "he",
        "privacy.max_sites_per_owner": config.privacy.max_sites_per_owner is not None,
    }
    for key, found in unfit.items():
        if found:
            raise ConfigError(
                f"{key} is set, and runs in one process alone so far",
                remedy="Remove it, or use sotto run",
            )
    if helped(config):
        _require_helpers(config.network, secure.helpers)
    return config.network


def _require_helpers(network: NetworkSettings, count: int) -> None:
    named = sorted(network.helpers)
    if len(named) != count:
        raise ConfigError(
            f"secure.helpers is {count}, and network.helpers has the lines of {named}",
            allowed="one line of each helper",
            remedy="Write them under [network.helpers]; sotto enrol --helper prints them",
        )
    if both := sorted(set(named) & set(network.roster)):
        raise ConfigError(
            f"{both[0]!r} is a site and a helper",
            allowed="helpers that hold no text of the run",
            remedy="Let the helper enrol under a name of its own",
        )


def _require_finished(known: Known, helpers: Collection[str], answer: Letter) -> None:
    """What a site may say of the result. A helper has wiped what was left, and says no more."""
    if answer.sender in helpers:
        return
    letters.figure(answer.facts, "heldout_loss")
    letters.count(answer.facts, "spent", most_spent(known, answer.sender))
    gain = answer.facts.get("gain", [None, None])
    if answer.kind != "finished" or not isinstance(gain, list) or len(gain) != 2:
        raise VerificationError("an end without a gain of two figures")
    for value in gain:
        letters.figure({"gain": value}, "gain")


def _finish(one: Host) -> None:
    """Bring the result to everybody, and write it in the form that others read."""
    index = one.server.round
    mail = one.mail("finish")
    parts = model_parts(one.server, one.config.federation.strategy.algorithm)
    facts = {"round": index}
    asks = {site: asking(one.post, "finish", site, facts, parts) for site in one.known.clients}
    asks |= {name: asking(one.post, "finish", name, facts, {}) for name in one.post.helper_names}
    check = partial(_require_finished, one.known, one.post.helper_names)
    answers, _ = gather(one.post, mail, "finish", asks, least=0, check=check)
    answers = {site: answers[site] for site in one.known.clients if site in answers}
    note_evaluation(one, index, answers)
    one.told_spent.update(told_spent(one, answers))
    gains = {site: told.facts["gain"] for site, told in answers.items() if told.facts.get("gain")}
    if gains:
        one.ledger.append("personal", {"gains": gains, "tensors_sha256": []})
        one.gains = gains
    payload: Mapping[str, Any] = one.start.payload
    files: dict[str, str] = {}
    if payload["adapter_config"] is not None and not one.server.residual:
        write_adapter(one.server.weights, payload["adapter_config"], one.folder.adapter)
        folders.sync_files(one.folder.adapter)
        files = folders.file_digests(one.folder.adapter)
    one.ledger.append(
        "end",
        {
            "rounds": index,
            "adapter_sha256": digest(model_tensors(one.server)),
            "files_sha256": files,
            **ended(one.known.plans, spent_of(one)),
        },
    )
    one.ended = True
    mail.empty()
