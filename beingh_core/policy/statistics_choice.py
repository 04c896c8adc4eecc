"""Which of a metadata file's statistics a policy normalises with, by the rules of the released loader.

    the file has                  asked for                     taken                                  `source`
    variants                      variant `merged`              the entry over all data                merged
                                  a variant's name              that one, whatever the mode            variant:NAME
                                  mode `task`, `embodiment`     the first one of that level            auto:task:NAME, ...
                                  the same, none of that level  the entry over all data                default
                                  mode `auto`                   the first one of all                   auto:NAME
                                  mode `merged`, `total`        the entry over all data                default
    one entry with statistics     any mode                      that entry                             legacy:direct
    sub-datasets in one entry     a sub-dataset's name          that one                               variant:NAME
                                  any mode                      the first one                          legacy:NAME

Its rules could move a robot with the statistics of another one, and are refused here: the name of a variant that is not
there (released: as if none had been named), unless `allow_unknown_variant` is set; and a first variant or an entry over all
data that belongs to another embodiment than the one asked for, unless it is named (the entry over all data by variant
`merged` or mode `merged` or `total`: that is warned of). Where there is a choice, what was taken is said.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from beingh_core.errors import BeingHError, did_you_mean
from beingh_core.policy.metadata import Metadata

log = logging.getLogger(__name__)
SELECTION_MODES = ("auto", "task", "embodiment", "merged", "total")
_MERGED = "merged"
_WHOLE_MODES = ("merged", "total")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Statistics, and what can be said of them.

    Attributes:
        statistics: {"state": {key: {...}}, "action": {...}}.
        source: how they were found, in the released policy's words.
        taken: whose they are.
        alternatives: what else the file holds.
        named: whether the user named them, so that nothing else could be meant.
        foreign: whose they are instead of the embodiment asked for, as the rest of a sentence; "" where they fit.
    """

    statistics: Mapping
    source: str
    taken: str
    alternatives: tuple[str, ...] = ()
    named: bool = False
    foreign: str = ""

    def __str__(self) -> str:
        others = f"; the file also holds {', '.join(self.alternatives)}" if self.alternatives else ""
        return f"normalising with the statistics of {self.taken} ({self.source}){self.foreign}{others}"


def choose_statistics(
    metadata: Metadata,
    *,
    embodiment_tag: str | None = None,
    variant: str | None = None,
    mode: str = "auto",
    allow_unknown_variant: bool = False,
) -> Choice:
    """Chooses the statistics to normalise with, and says which; see the table of this module.

    Args:
        metadata: see `load_metadata`.
        embodiment_tag: robot identifier; None for any.
        variant: name of a variant, or `merged`.
        mode: one of `SELECTION_MODES`.
        allow_unknown_variant: whether a variant that is not there counts as none, as in the released loader.

    Raises:
        BeingHError: unknown mode or variant, or statistics of another embodiment; lists what exists.
    """
    if mode not in SELECTION_MODES:
        raise BeingHError(
            f"unknown stats_selection_mode `{mode}`",
            allowed=SELECTION_MODES,
            remedy=did_you_mean(mode, SELECTION_MODES),
        )
    choice = _chosen(metadata, embodiment_tag, variant, mode, allow_unknown_variant)
    guessed = choice.alternatives and not choice.named
    log.log(logging.WARNING if guessed or choice.foreign else logging.INFO, "%s", choice)
    return choice


def _chosen(
    metadata: Metadata, embodiment_tag: str | None, variant: str | None, mode: str, allow_unknown_variant: bool
) -> Choice:
    if variant is not None:
        if variant == _MERGED and not metadata.nested:
            source = _MERGED if metadata.variants else "legacy:direct"
            return _whole(metadata, source, _foreign(metadata.merged, embodiment_tag), named=True)
        if variant in metadata.variants:
            foreign = _foreign(metadata.variants[variant], embodiment_tag)
            return _one(metadata, variant, f"variant:{variant}", foreign, named=True)
        if not allow_unknown_variant:
            raise _unknown(metadata, variant)
    first = _first(metadata, mode)
    if first is None:
        source = "default" if metadata.variants else "legacy:direct"
        foreign = _foreign(metadata.merged, embodiment_tag)
        if foreign and mode not in _WHOLE_MODES:
            raise _other_embodiment(metadata, metadata.name, source, foreign, embodiment_tag)
        return _whole(metadata, source, foreign)
    name, source = first
    foreign = _foreign(metadata.variants[name], embodiment_tag)
    if foreign:
        raise _other_embodiment(metadata, name, source, foreign, embodiment_tag)
    return _one(metadata, name, source)


def _first(metadata: Metadata, mode: str) -> tuple[str, str] | None:
    """(variant, source) by the released rule; None for the entry over all data."""
    names = list(metadata.variants)
    if metadata.nested:
        return names[0], f"legacy:{names[0]}"
    if mode == "auto" and names:
        return names[0], f"auto:{names[0]}"
    of_level = [name for name in names if metadata.variants[name].get("stats_level") == mode]
    return (of_level[0], f"auto:{mode}:{of_level[0]}") if of_level else None


def _one(metadata: Metadata, name: str, source: str, foreign: str = "", named: bool = False) -> Choice:
    others = tuple(told for other, told in _described(metadata) if other != name)
    entry = metadata.variants[name]
    return Choice(
        statistics=entry["statistics"],
        source=source,
        taken=f"`{name}` ({_level(entry)})",
        alternatives=others,
        named=named,
        foreign=foreign,
    )


def _whole(metadata: Metadata, source: str, foreign: str = "", named: bool = False) -> Choice:
    others = tuple(told for other, told in _described(metadata) if other != metadata.name)
    return Choice(
        statistics=metadata.merged["statistics"],
        source=source,
        taken=f"`{metadata.name}` ({_level(metadata.merged)})",
        alternatives=others,
        named=named,
        foreign=foreign,
    )


def _foreign(entry: Mapping, embodiment_tag: str | None) -> str:
    """That an entry is of another embodiment than the one asked for; "" where it says so of neither tag nor robot."""
    found = entry.get("embodiment_tag")
    if embodiment_tag is None or found in (None, embodiment_tag) or entry.get("robot") == embodiment_tag:
        return ""
    return f", which are of embodiment `{found}`, not `{embodiment_tag}`"


def _other_embodiment(
    metadata: Metadata, name: str, source: str, foreign: str, embodiment_tag: str | None
) -> BeingHError:
    fitting = [n for n, entry in metadata.variants.items() if not _foreign(entry, embodiment_tag)]
    if not metadata.nested and not _foreign(metadata.merged, embodiment_tag):
        fitting.append(_MERGED)
    anyway = _MERGED if name == metadata.name else name
    return BeingHError(
        f"the statistics that would be taken are those of `{name}` ({source}){foreign}",
        where=metadata.path,
        allowed=[told for _, told in _described(metadata)],
        remedy=f"name one with metadata_variant, for `{embodiment_tag}` "
        + (f"one of {', '.join(fitting)}" if fitting else "the file has none")
        + f"; metadata_variant `{anyway}` takes these all the same",
    )


def _unknown(metadata: Metadata, variant: str) -> BeingHError:
    remedy = did_you_mean(variant, metadata.variants) or "name one that is there, or leave metadata_variant unset"
    return BeingHError(
        f"there is no metadata variant `{variant}` of dataset `{metadata.name}`",
        where=metadata.path,
        allowed=[told for _, told in _described(metadata)],
        remedy=f"{remedy}; with allow_unknown_variant it is left out of account, as the released loader does",
    )


def _described(metadata: Metadata) -> list[tuple[str, str]]:
    """(name, name with level) of everything in the file."""
    whole = [] if metadata.nested else [(metadata.name, metadata.merged)]
    return [(name, f"{name} ({_level(entry)})") for name, entry in (*metadata.variants.items(), *whole)]


def _level(entry: Mapping) -> str:
    return entry.get("stats_level") or "no level"
