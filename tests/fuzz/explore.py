"""Feed one parser with bytes that libFuzzer makes from valid ones, guided by what code they reach.

    python tests/fuzz/explore.py TARGET FOLDER -max_total_time=600

Run by ``test_fuzz.py``; what follows the folder goes to libFuzzer. The folder keeps the corpus, so
that a later run with the same folder goes on from there, and the bytes of a failure if there is one.
"""

from __future__ import annotations

import sys
from hashlib import sha256
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parent))
with atheris.instrument_imports(include=["sottovoce"]):
    import fuzz_targets


def main() -> None:
    """Write the seeds, and explore."""
    name, place, *options = sys.argv[1:]
    target = fuzz_targets.TARGETS[name]()
    folder = Path(place)
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in (*target.seeds, *target.almost):
        (corpus / sha256(seed).hexdigest()).write_bytes(seed)
    longest = 2 * max(map(len, target.seeds)) + 64
    limits = [f"-max_len={longest}", "-timeout=20", "-rss_limit_mb=3000"]
    where = [f"-artifact_prefix={folder}/", str(corpus)]

    def check(data: bytes) -> None:
        target.check(data)

    atheris.Setup([sys.argv[0], *limits, *options, *where], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
