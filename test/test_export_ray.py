"""The same export on a Ray cluster of two nodes: `pip install ray`, then this file."""

import contextlib
import io
import os
import shutil
from pathlib import Path

import pytest

ray = pytest.importorskip("ray", reason="ray is not installed: pip install ray")
from fr3_bag import BUFFER, messages, write
from lerobot_support import contents
from ray.cluster_utils import Cluster

from beingh_core.cli import export_dataset as main
from beingh_core.data.bag_files import open_bag
from beingh_core.data.export import Export, export
from beingh_core.data.lerobot import VideoSettings

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def address():
    """Of two nodes of one processor each on this machine."""
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    node = {"num_cpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False}
    with contextlib.redirect_stdout(io.StringIO()):
        cluster = Cluster(initialize_head=True, head_node_args=node)
        del node["include_dashboard"]
        cluster.add_node(**node)
    yield cluster.address
    cluster.shutdown()


@pytest.fixture(scope="module")
def bags(tmp_path_factory):
    """Five bags: whole ones of different lengths, one without the commands, one that is cut off."""
    folder = tmp_path_factory.mktemp("bags")
    for number in range(3):
        write(folder / f"b{number}", messages(1.0 + 0.5 * number))
    write(folder / "a_without", [m for m in messages(1.0) if m[1] != BUFFER])
    shutil.copytree(folder / "b2", folder / "c_cut")
    [file] = (folder / "c_cut").glob("*.mcap")
    os.truncate(file, file.stat().st_size * 2 // 3)
    return sorted(folder.iterdir())


def run(bags, out, **more):
    settings = Export(contract="fr3", out=out, video=VideoSettings(encoder="software"), **more)
    told = export(bags, settings, open_bag)
    return [(o.bag.name, o.state, o.episodes, o.frames, o.findings) for o in told], {
        name: content for name, content in contents(out).items() if name.endswith((".parquet", ".json", ".jsonl"))
    }


def test_one_process_several_and_a_cluster_give_the_same(address, bags, tmp_path):
    one = run(bags, tmp_path / "one", workers=1)
    assert [state for _, state, *_ in one[0]] == ["refused", "exported", "exported", "exported", "salvaged"]
    assert run(bags, tmp_path / "three", workers=3) == one
    assert run(bags, tmp_path / "ray", ray=address) == one
    assert not ray.is_initialized()


def test_an_interrupted_export_goes_on_on_the_cluster(address, bags, tmp_path):
    run(bags[:2], tmp_path / "d", workers=1)
    run(bags, tmp_path / "d", ray=address)
    _, whole = run(bags, tmp_path / "whole", workers=1)
    _, found = run(bags, tmp_path / "d", ray=address)
    data = lambda files: {n: c for n, c in files.items() if n.startswith("meta/beingh/bags")}
    assert data(found) == data(whole)


def test_no_cluster_is_one_error(bags, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("RAY_gcs_rpc_server_connect_timeout_s", "1")
    given = [str(bags[1]), "--contract", "fr3", "--out", str(tmp_path / "d")]
    assert main([*given, "--ray", "nonsense"]) == 2
    error = capsys.readouterr().err
    assert "there is no Ray cluster" in error and "ray start --head" in error and "Traceback" not in error
