"""The first files of a federation across machines: the folders of a site, a helper, a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from sottovoce.run.certs import make_certificates
from sottovoce.run.enrol import make_keys, make_server_identity
from sottovoce.run.private_files import PUBLIC, write_new

_SITE: Final = """\
# The site {name}. Nothing that arrives over the network changes this file.

name = "{name}"
keys = "."                     # what sotto enrol has made: keep it secret, and out of backups
folder = "runs"                # runs, ledgers and the privacy budget of this site
policy = "policy.toml"         # what this site allows

[server]
address = "127.0.0.1:9092"     # ask who runs the server
identity = "{zeros}"
# ca = "ca.pem"                # who signed its certificate, if everybody does not know them

[data]
path = "conversations"         # this site's text; it never leaves this machine
scrub = "mask"                 # personal data out; or "pseudonym", "drop", or "off": all stays

[model]
# path = "models/base"         # where the base model lies; without it, the run's own name for it

[limits]
# user = "nobody"              # as root: the user who talks to the network in this site's place

[roster]
# Every site's line, this one's too. Needed where the server may see sums alone.
{key} = "{line}"

[helpers]
# Every helper's line. Needed where helpers open the sums.
"""

_HELPER: Final = """\
# The helper {name}. Nothing that arrives over the network changes this file.

name = "{name}"
keys = "."                     # what sotto enrol has made: keep it secret, and out of backups
folder = "runs"                # ledgers, and what it remembers of sums; out of backups, too
least = 2                      # no sum of fewer sites

[server]
address = "127.0.0.1:9092"     # ask who runs the server
identity = "{zeros}"
# ca = "ca.pem"                # who signed its certificate, if everybody does not know them

[helpers]
# Every helper's line, this one's too.
{key} = "{line}"

[roster]
# Every site's line.
"""

_POLICY: Final = """\
# What the site {name} allows. A run that asks for more is refused, with the rule's name.

weakest_unit = "owner"             # every person is hidden; or "client", "example", "none"
max_epsilon_per_run = 8.0
max_epsilon_per_data_set = 8.0     # of all runs on this text together
max_delta = 1e-5
min_cohort = 3                     # no sum of fewer clients
secure_aggregation = true          # the server sees sums alone
base_models = ["{zeros}"]          # sha256 of the models that may be trained; a refusal names it
tasks = ["chat"]
trust = "none"                     # "server" lets the server add the noise
"""


def enrol_site(name: str, folder: Path) -> dict[str, Any]:
    """Make a site's keys, its file and a strict policy.

    Args:
        name: of the site.
        folder: made if it is missing.

    Returns:
        ``name``, ``line`` for the roster, ``site_file`` and ``policy``.

    Raises:
        ConfigError: something is there already, or the name is no name.
    """
    line = make_keys(folder, name)
    zeros = "0" * 64
    texts = {
        f"{name}.toml": _SITE.format(name=name, key=toml_key(name), line=line, zeros=zeros),
        "policy.toml": _POLICY.format(name=name, zeros=zeros),
    }
    write_new(folder, {file: (text.encode(), PUBLIC) for file, text in texts.items()})
    site, policy = (str(folder / file) for file in texts)
    return {"name": toml_key(name), "line": f'"{line}"', "site_file": site, "policy": policy}


def enrol_helper(name: str, folder: Path) -> dict[str, Any]:
    """Make a helper's keys and its file.

    Args:
        name: of the helper.
        folder: made if it is missing.

    Returns:
        ``name``, ``line`` for the lines of the helpers, and ``helper_file``.

    Raises:
        ConfigError: something is there already, or the name is no name.
    """
    line = make_keys(folder, name)
    text = _HELPER.format(name=name, key=toml_key(name), line=line, zeros="0" * 64)
    write_new(folder, {f"{name}.toml": (text.encode(), PUBLIC)})
    place = str(folder / f"{name}.toml")
    return {"name": toml_key(name), "line": f'"{line}"', "helper_file": place}


def toml_key(name: str) -> str:
    """A name as a key of TOML: bare where that may be.

    >>> toml_key("berlin"), toml_key("St. Anna")
    ('berlin', '"St. Anna"')
    """
    bare = all(letter.isascii() and (letter.isalnum() or letter in "-_") for letter in name)
    return name if bare else json.dumps(name, ensure_ascii=False)


def found_server(folder: Path, host: str) -> dict[str, Any]:
    """Make a server's identity, and a laboratory's CA with a certificate for the server.

    Returns:
        ``identity``: the public key that every site pins; ``files``: what was written.

    Raises:
        ConfigError: something is there already.
    """
    make_certificates(folder, host)
    identity = make_server_identity(folder / "server-identity.key")
    return {"identity": identity, "files": sorted(path.name for path in folder.iterdir())}
