"""The files of config/train are read, and docs/training.md names every key."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from beingh_core.train import settings
from beingh_core.train.modality import Modality
from beingh_core.train.settings import RunConfig

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / "config/train").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_says_hardware_and_is_read(path):
    text = path.read_text()
    for told in ("Hardware", "Time", "Expect"):
        assert re.search(rf"^# {told}: ", text, re.MULTILINE), told
    assert re.search(r"^# .*\d GB|^# Memory: ", text, re.MULTILINE)
    config = RunConfig.from_file(path)
    assert {Modality.of(section).name for section in config.data.datasets if not section.is_text}
    assert Path(config.out).name == path.stem


def keys(section=RunConfig):
    """Every key of a section and of those below it."""
    for name, field in section.model_fields.items():
        yield name
        kind = next((k for k in vars(settings).values() if k is field.annotation), None)
        if isinstance(kind, type) and issubclass(kind, BaseModel) and name not in ("vision", "decoder"):
            yield from keys(kind)
    if section is RunConfig:
        yield from settings.DatasetSection.model_fields


def test_the_document_names_every_key():
    text = (ROOT / "docs/training.md").read_text()
    table = text[text.index("## Keys") : text.index("## From the released trainer")]
    named = set(re.findall(r"[a-z_]+", table))
    assert len(set(keys())) > 70 and set(keys()) <= named
