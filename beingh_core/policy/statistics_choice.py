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

Two of its rules could move a robot with the statistics of another one, and are refused here: the name of a variant that
is not there (released: as if none had been named), unless `allow_unknown_variant` is set; and a first variant that
belongs to another embodiment than the one asked for, unless it is named. Where there is a choice, what was taken is said.
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


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Statistics, and what can be said of them.

    Attributes:
        statistics: {"state": {key: {...}}, "action": {...}}.
        source: how they were found, in the released policy's words.
        taken: whose they are.
        alternatives: what else the file holds.
        named: whether the user named them, so that nothing else could be meant.
    """

    statistics: Mapping
    source: str
    taken: str
    alternatives: tuple[str, ...] = ()
    named: bool = False

    def __str__(self) -> str:
        others = f"; the file also holds {', '.join(self.alternatives)}" if self.alternatives else ""
        return f"normalising with the statistics of {self.taken} ({self.source}){others}"


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
    log.log(logging.WARNING if guessed else logging.INFO, "%s", choice)
    return choice


def _chosen(
    metadata: Metadata, embodiment_tag: str | None, variant: str | None, mode: str, allow_unknown_variant: bool
) -> Choice:
    if variant is not None:
        if variant == _MERGED and not metadata.nested:
            return _whole(metadata, _MERGED if metadata.variants else "legacy:direct", named=True)
        if variant in metadata.variants:
            return _one(metadata, variant, f"variant:{variant}", named=True)
        if not allow_unknown_variant:
            raise _unknown(metadata, variant)
    first = _first(metadata, mode)
    if first is None:
        return _whole(metadata, "default" if metadata.variants else "legacy:direct")
    name, source = first
    _check_embodiment(metadata, name, source, embodiment_tag)
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


def _one(metadata: Metadata, name: str, source: str, named: bool = False) -> Choice:
    others = [told for other, told in _described(metadata) if other != name]
    taken = f"`{name}` ({_level(metadata.variants[name])})"
    statistics = metadata.variants[name]["statistics"]
    return Choice(statistics=statistics, source=source, taken=taken, alternatives=tuple(others), named=named)


def _whole(metadata: Metadata, source: str, named: bool = False) -> Choice:
    others = tuple(told for other, told in _described(metadata) if other != metadata.name)
    taken = f"`{metadata.name}` ({_level(metadata.merged)})"
    return Choice(
        statistics=metadata.merged["statistics"], source=source, taken=taken, alternatives=others, named=named
    )


def _check_embodiment(metadata: Metadata, name: str, source: str, embodiment_tag: str | None) -> None:
    found = metadata.variants[name].get("embodiment_tag")
    if embodiment_tag is None or found in (None, embodiment_tag):
        return
    fitting = [n for n, entry in metadata.variants.items() if entry.get("embodiment_tag") in (None, embodiment_tag)]
    raise BeingHError(
        f"the statistics that would be taken, `{name}` ({source}), are of embodiment `{found}`, not `{embodiment_tag}`",
        where=metadata.path,
        allowed=[told for _, told in _described(metadata)],
        remedy=f"name one with metadata_variant, for `{embodiment_tag}` "
        + (f"one of {', '.join(fitting)}" if fitting else "the file has none"),
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
