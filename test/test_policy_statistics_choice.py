"""Every way to choose among the statistics of a metadata file: the released loader's answer, or a refusal that says why."""

import json
import logging

import pytest

from beingh_core.errors import BeingHError
from beingh_core.policy.metadata import load_metadata
from beingh_core.policy.statistics_choice import choose_statistics


def entry(name, level=None, tag=None):
    """Metadata whose statistics can be told by a key's name."""
    keys = {"statistics": {"state": {name: {"min": [0.0]}}, "action": {}}, "stats_level": level, "embodiment_tag": tag}
    return {key: value for key, value in keys.items() if value is not None}


def variants_of(*entries):
    return {name: entry(name, *rest) for name, *rest in entries}


WHOLE = entry("all", "merged", "arm")
FILES = {
    "tasks": {
        "mix": WHOLE,
        "mix_variants": variants_of(("pick", "task", "arm"), ("place", "task", "arm"), ("arm", "embodiment", "arm")),
    },
    "embodiments first": {
        "mix": WHOLE,
        "mix_variants": variants_of(
            ("arm", "embodiment", "arm"), ("dog", "embodiment", "dog"), ("pick", "task", "arm")
        ),
    },
    "no levels": {"mix": WHOLE, "mix_variants": variants_of(("pick",), ("place",))},
    "no variants": {"mix": WHOLE},
    "of a robot": {"mix": WHOLE | {"robot": "dog"}},
    "empty variants": {"mix": WHOLE, "mix_variants": {}},
    "nested": {"mix": variants_of(("pick", None, "arm"), ("place", None, "arm"))},
}

# File, metadata_variant, stats_selection_mode -> whose statistics, stats_source. What the released loader answers.
TABLE = [
    ("tasks", None, "auto", "pick", "auto:pick"),
    ("tasks", None, "task", "pick", "auto:task:pick"),
    ("tasks", None, "embodiment", "arm", "auto:embodiment:arm"),
    ("tasks", None, "merged", "all", "default"),
    ("tasks", None, "total", "all", "default"),
    ("tasks", "merged", "auto", "all", "merged"),
    ("tasks", "merged", "task", "all", "merged"),
    ("tasks", "place", "auto", "place", "variant:place"),
    ("tasks", "place", "embodiment", "place", "variant:place"),
    ("tasks", "arm", "task", "arm", "variant:arm"),
    ("embodiments first", None, "auto", "arm", "auto:arm"),
    ("embodiments first", None, "task", "pick", "auto:task:pick"),
    ("embodiments first", None, "embodiment", "arm", "auto:embodiment:arm"),
    ("embodiments first", "dog", "auto", "dog", "variant:dog"),
    ("no levels", None, "auto", "pick", "auto:pick"),
    ("no levels", None, "task", "all", "default"),
    ("no levels", None, "embodiment", "all", "default"),
    ("no levels", None, "merged", "all", "default"),
    ("no levels", "place", "task", "place", "variant:place"),
    ("no variants", None, "auto", "all", "legacy:direct"),
    ("no variants", None, "task", "all", "legacy:direct"),
    ("no variants", None, "total", "all", "legacy:direct"),
    ("no variants", "merged", "auto", "all", "legacy:direct"),
    ("nested", None, "auto", "pick", "legacy:pick"),
    ("nested", None, "task", "pick", "legacy:pick"),
    ("nested", None, "merged", "pick", "legacy:pick"),
]
# The released loader has no answer (it fails), or not the one that was named.
OURS = [
    ("empty variants", None, "auto", "all", "legacy:direct"),
    ("nested", "pick", "auto", "pick", "variant:pick"),
    ("nested", "place", "auto", "place", "variant:place"),
]
# A variant that is not there: refused, and when that is allowed, what the released loader takes.
UNKNOWN = [
    ("tasks", "plce", "auto", "pick", "auto:pick"),
    ("tasks", "plce", "task", "pick", "auto:task:pick"),
    ("tasks", "plce", "embodiment", "arm", "auto:embodiment:arm"),
    ("tasks", "plce", "total", "all", "default"),
    ("no levels", "plce", "auto", "pick", "auto:pick"),
    ("no levels", "plce", "task", "all", "default"),
    ("no variants", "plce", "auto", "all", "legacy:direct"),
    ("nested", "plce", "auto", "pick", "legacy:pick"),
    ("nested", "merged", "auto", "pick", "legacy:pick"),
]


@pytest.fixture
def choose(tmp_path):
    def chosen(file, **options):
        (tmp_path / "mix_metadata.json").write_text(json.dumps(FILES[file]))
        return choose_statistics(load_metadata(tmp_path, "mix"), **options)

    return chosen


def whose(choice):
    return next(iter(choice.statistics["state"]))


@pytest.mark.parametrize(("file", "variant", "mode", "name", "source"), TABLE + OURS)
@pytest.mark.parametrize("tag", (None, "arm"))
def test_what_is_taken(choose, tag, file, variant, mode, name, source):
    choice = choose(file, variant=variant, mode=mode, embodiment_tag=tag)
    assert (whose(choice), choice.source) == (name, source)


@pytest.mark.parametrize(("file", "variant", "mode", "name", "source"), UNKNOWN)
def test_an_unknown_variant_is_refused_unless_that_is_allowed(choose, file, variant, mode, name, source):
    with pytest.raises(BeingHError, match=f"no metadata variant `{variant}`") as caught:
        choose(file, variant=variant, mode=mode)
    assert "allow_unknown_variant" in caught.value.remedy and caught.value.allowed
    choice = choose(file, variant=variant, mode=mode, allow_unknown_variant=True)
    assert (whose(choice), choice.source) == (name, source)


@pytest.mark.parametrize(
    ("file", "tag", "mode", "taken", "fitting"),
    [
        ("tasks", "dog", "auto", "pick", "the file has none"),
        ("embodiments first", "dog", "auto", "arm", "one of dog"),
        ("embodiments first", "dog", "embodiment", "arm", "one of dog"),
        ("nested", "dog", "auto", "pick", "the file has none"),
    ],
)
def test_a_first_variant_of_another_embodiment_is_refused_unless_it_is_named(choose, file, tag, mode, taken, fitting):
    with pytest.raises(BeingHError, match=f"`{taken}`.*embodiment `arm`, not `dog`") as caught:
        choose(file, mode=mode, embodiment_tag=tag)
    assert "metadata_variant" in caught.value.remedy and fitting in caught.value.remedy
    assert whose(choose(file, mode=mode, embodiment_tag=tag, variant=taken)) == taken


@pytest.mark.parametrize(
    ("file", "options", "level", "said"),
    [
        (
            "tasks",
            {},
            "WARNING",
            "of `pick` (task) (auto:pick); the file also holds place (task), arm (embodiment), mix",
        ),
        ("tasks", {"mode": "total"}, "WARNING", "of `mix` (merged) (default); the file also holds pick (task), place"),
        ("no levels", {"mode": "task"}, "WARNING", "of `mix` (merged) (default); the file also holds pick (no level)"),
        ("nested", {}, "WARNING", "of `pick` (no level) (legacy:pick); the file also holds place (no level)"),
        ("tasks", {"variant": "place"}, "INFO", "of `place` (task) (variant:place); the file also holds pick (task)"),
        ("no variants", {}, "INFO", "of `mix` (merged) (legacy:direct)"),
    ],
)
def test_what_was_taken_is_said_with_the_alternatives(choose, caplog, file, options, level, said):
    with caplog.at_level(logging.INFO, logger="beingh_core.policy"):
        choice = choose(file, **options)
    (record,) = caplog.records
    assert record.levelname == level and said in record.getMessage() == str(choice)


@pytest.mark.parametrize(
    ("file", "mode", "source"),
    [
        ("no variants", "auto", "legacy:direct"),
        ("no variants", "task", "legacy:direct"),
        ("empty variants", "auto", "legacy:direct"),
        ("no levels", "task", "default"),
        ("no levels", "embodiment", "default"),
    ],
)
def test_statistics_over_all_data_of_another_embodiment_are_refused_unless_they_are_named(
    choose, caplog, file, mode, source
):
    with pytest.raises(BeingHError, match=r"`mix` \(.*\), which are of embodiment `arm`, not `dog`") as caught:
        choose(file, mode=mode, embodiment_tag="dog")
    assert source in caught.value.what and "metadata_variant `merged` takes these" in caught.value.remedy
    for named in ({"variant": "merged", "mode": mode}, {"mode": "merged"}, {"mode": "total"}):
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="beingh_core.policy"):
            assert whose(choose(file, embodiment_tag="dog", **named)) == "all"
        (record,) = caplog.records
        assert record.levelname == "WARNING" and "which are of embodiment `arm`, not `dog`" in record.getMessage()


def test_a_named_variant_of_another_embodiment_is_warned_of(choose, caplog):
    with caplog.at_level(logging.INFO, logger="beingh_core.policy"):
        assert whose(choose("embodiments first", embodiment_tag="arm", variant="dog")) == "dog"
    (record,) = caplog.records
    assert record.levelname == "WARNING" and "which are of embodiment `dog`, not `arm`" in record.getMessage()


def test_statistics_that_name_the_robot_itself_are_its_own(choose, caplog):
    """Whatever the embodiment is called: the robot of the contract is the stronger word."""
    with caplog.at_level(logging.INFO, logger="beingh_core.policy"):
        assert whose(choose("of a robot", embodiment_tag="dog")) == "all"
    assert [record.levelname for record in caplog.records] == ["INFO"]


def test_sub_datasets_beside_variants_are_one_clear_error(tmp_path):
    content = {"mix": variants_of(("pick",), ("place",)), "mix_variants": variants_of(("pick",))}
    (tmp_path / "mix_metadata.json").write_text(json.dumps(content))
    with pytest.raises(BeingHError, match=r"`mix` holds sub-datasets \(pick, place\).*`mix_variants` too") as caught:
        load_metadata(tmp_path, "mix")
    assert "take `mix_variants` out" in caught.value.remedy
    (tmp_path / "mix_metadata.json").write_text(json.dumps(content | {"mix_variants": {}}))
    assert load_metadata(tmp_path, "mix").nested, "an empty mapping says nothing"


def test_an_unknown_mode_names_the_known_ones(choose):
    with pytest.raises(BeingHError, match="stats_selection_mode `tasks`") as caught:
        choose("tasks", mode="tasks")
    assert caught.value.allowed == "auto, task, embodiment, merged, total"


def test_sub_datasets_are_checked_like_any_entry(tmp_path):
    content = {"mix": {"pick": entry("pick"), "place": {"modalities": {}}}}
    (tmp_path / "mix_metadata.json").write_text(json.dumps(content))
    with pytest.raises(BeingHError, match="`statistics` is missing") as caught:
        load_metadata(tmp_path, "mix")
    assert "mix.place" in caught.value.where
