"""What takes personal data out of a configuration's text, with the site's own key."""

from __future__ import annotations

from pathlib import Path

from sottovoce.data.clean import Scrubber
from sottovoce.data.pii.default import default_detector, own_kinds
from sottovoce.data.pii.replace import KEY_BYTES, Way, make_replacement
from sottovoce.data.scrub import scrub
from sottovoce.data.settings import DataSettings
from sottovoce.errors import ConfigError
from sottovoce.rng import secret_source
from sottovoce.run.private_files import PRIVATE, read_private, write_new


def scrubber_of(data: DataSettings) -> Scrubber | None:
    """What a section ``[data]`` asks for; None where personal data stay.

    Raises:
        ConfigError: the section does not say what becomes of personal data, or the site's key
            cannot be read or made.
    """
    if data.scrub is None:
        raise ConfigError(
            "data.scrub is missing: it says what becomes of personal data in the text",
            allowed='"mask", "pseudonym", "drop" or, to train on them as they are, "off"',
        )
    if data.scrub == "off":
        return None
    return make_scrubber(data, data.scrub, Path(data.scrub_key) if data.scrub_key else None)


def make_scrubber(data: DataSettings, way: Way, key: Path | None) -> Scrubber:
    """A scrubber of one way, whatever the section says of ways.

    Raises:
        ConfigError: surrogates without a key's file, or a key that cannot be read or made.
    """
    secret = None
    if way == "pseudonym":
        if key is None:
            raise ConfigError(
                "surrogates need the site's key",
                allowed='scrub_key = "scrub.key" in [data], or --key FILE',
                remedy="A key is made where there is none",
            )
        secret = site_key(key)
    replacement = make_replacement(way, secret, own_kinds(data.pii))
    return Scrubber(way, default_detector(data.pii), replacement)


def scrubbed_with(scrubber: Scrubber | None, text: str) -> str | None:
    """One text as training sees it; None where personal data make it go whole."""
    if scrubber is None:
        return text
    done = scrub(text, scrubber.detector, scrubber.replacement)
    return None if scrubber.way == "drop" and done.spans else done.text


def site_key(path: Path) -> bytes:
    """The key by which a site draws surrogates; made at first use, for its owner alone.

    Who loses it gets other surrogates; who has it can try out names.

    Raises:
        ConfigError: it cannot be made or read, or others can read it.
    """
    if not path.exists():
        made = secret_source().words(KEY_BYTES // 8).astype("<u8").tobytes()
        write_new(path.parent, {path.name: (f"{made.hex()}\n".encode(), PRIVATE)})
    text = read_private(path).strip()
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigError(
            f"the key {path} is not {2 * KEY_BYTES} hexadecimal digits",
            remedy="Name the file of the key, or one that is not there yet",
        )
    return key
