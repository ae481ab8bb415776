"""What personal data to look for, and how: the section [pii] of a configuration."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from sottovoce.data.pii.own_patterns import compile_own
from sottovoce.data.pii.span import NAMED, STRUCTURED

Word = Annotated[str, Field(min_length=1, max_length=200)]
Kind = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,39}$")]


class Recogniser(BaseModel):
    """A recogniser that a user adds.

    Args:
        name: for whoever asks why something was found.
        kind: what it finds: a kind that exists, or a new one in capitals.
        patterns: regular expressions. An unbounded repeat stops after 64; patterns in which
            repeats multiply are refused.
        deny_list: words that always are of this kind, whole, whatever their case.
        context: words of which one must stand within 40 characters; none asks for nothing.
        score: how sure a find is.
        languages: "en" for texts with Latin letters, "zh" for texts with Chinese characters.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Word
    kind: Kind
    patterns: tuple[Word, ...] = ()
    deny_list: tuple[Word, ...] = ()
    context: tuple[Word, ...] = ()
    score: float = Field(default=0.9, gt=0, le=1)
    languages: tuple[Literal["en", "zh"], ...] = ("en", "zh")

    @field_validator("patterns")
    @classmethod
    def _usable(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            compile_own(pattern)
        return patterns

    @model_validator(mode="after")
    def _finds_something(self) -> Recogniser:
        if not self.patterns and not self.deny_list:
            raise ValueError(f"the recogniser {self.name!r} has neither patterns nor a deny_list")
        if not self.languages:
            raise ValueError(f"the recogniser {self.name!r} has no languages")
        return self


class PiiSettings(BaseModel):
    """What personal data to look for.

    Args:
        kinds: what is looked for; kinds of own recognisers are looked for in any case.
        threshold: finds that are less sure are left out before overlaps are decided.
        regions: whose telephone numbers are known without their country's prefix, as ISO codes.
        recognisers: what the user adds.
        allow: texts that are never personal, nor is anything inside them, whatever their case.
        frame: ``direct`` asks the recognisers one after another; ``presidio`` lets Presidio's
            AnalyzerEngine ask them, and finds the same.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kinds: tuple[str, ...] = (*STRUCTURED, *NAMED)
    threshold: float = Field(default=0.5, ge=0, le=1)
    regions: tuple[Annotated[str, Field(pattern="^[A-Z]{2}$")], ...] = (
        *("CN", "US", "GB", "DE", "FR", "IN", "CA", "AU", "HK", "TW", "IT", "ES", "NL", "BE", "CH"),
        *("AT", "IE", "SE", "JP", "SG", "NZ", "MO"),
    )
    recognisers: tuple[Recogniser, ...] = ()
    allow: tuple[Word, ...] = ()
    frame: Literal["direct", "presidio"] = "direct"

    @model_validator(mode="after")
    def _known(self) -> PiiSettings:
        known = {*STRUCTURED, *NAMED, *(own.kind for own in self.recognisers)}
        unknown = [kind for kind in self.kinds if kind not in known]
        if unknown:
            raise ValueError(
                f"kinds has {', '.join(map(repr, unknown))}; allowed are {', '.join(sorted(known))}"
            )
        names = [own.name for own in self.recognisers]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two recognisers are called {twice[0]!r}; give each its own name")
        return self
