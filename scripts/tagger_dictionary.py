"""English words for the tagger out of SCOWL, Kevin Atkinson's word lists, as Debian hands them out.

The list is not kept here. ``apt-get install wamerican-large`` puts it in the folder of dictionaries.
Its licence wants to go wherever something made of it goes: ``tagger_notices.txt`` beside the weights.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Final

SHA256: Final = "7722e490a1575058326569c778fcb8e93b3cf866452c0f54bfd1c22817ad5a90"
"""Of the list that the bundled tagger was trained with: american-english-large of wamerican-large."""
_WORD: Final = re.compile("[a-z]{3,}")


def load_dictionary(path: Path) -> list[str]:
    """The words that are written in small letters.

    Raises:
        SystemExit: it is another list, with which other weights would come out.
    """
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise SystemExit(f"{path} is not the list that this script was written for")
    return [word for word in data.decode().split() if _WORD.fullmatch(word)]
