"""Real message packages for tests, where no ROS installation provides them.

`test/interfaces/` holds the fields of the interfaces that the drivers use (names, types and order as in the packages'
definitions, which is what the wire depends on). From them the generators of the installed ROS wheels make C and Python
code, and the C compiler a library, so that tests use these types over DDS like any other. The result is kept for the
next run in the folder for temporary files.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

INTERFACES = Path(__file__).parent / "interfaces"
PARTS = {".msg": ("",), ".action": ("_Goal", "_Result", "_Feedback")}
TYPE_SUPPORTS = ("rosidl_typesupport_fastrtps_c", "rosidl_typesupport_introspection_c")
IDL_TYPES = {"bool": "boolean", "float32": "float", "float64": "double"}


def provide(package: str) -> None:
    """Make a package importable: the installed one, else one built from `test/interfaces/`; skips where neither can be."""
    if package in sys.modules or importlib.util.find_spec(package):
        return
    if "ROS_DISTRO" in os.environ:
        pytest.skip(f"{package} is not installed: install or build it for this ROS distribution")
    if shutil.which("gcc") is None or shutil.which("g++") is None:
        pytest.skip(f"{package} is not installed, and there is no C compiler to build its interfaces")
    if not Path(sysconfig.get_paths()["include"], "Python.h").is_file():
        pytest.skip(f"{package} is not installed, and there are no Python headers to build its interfaces")
    root = _built(package)
    sys.path.insert(0, str(root))
    for support in TYPE_SUPPORTS:  # loaded here, because the dynamic linker would not search this folder
        ctypes.CDLL(str(root / package / f"lib{package}__{support}.so"), ctypes.RTLD_GLOBAL)
    importlib.invalidate_caches()


def for_children(environment: dict[str, str], package: str) -> None:
    """Let child processes import a provided package, too: extends their environment."""
    folder = Path(importlib.import_module(package).__file__).parent
    for key, value in (("PYTHONPATH", folder.parent), ("LD_LIBRARY_PATH", folder)):
        environment[key] = os.pathsep.join(filter(None, [environment.get(key), str(value)]))


def _built(package: str) -> Path:
    """Folder that holds the built package."""
    sources = [Path(__file__), *sorted(path for path in (INTERFACES / package).rglob("*") if path.is_file())]
    digest = hashlib.sha256(f"{sys.version} {sys.prefix}".encode())
    for path in sources:
        digest.update(path.read_bytes())
    folder = Path(tempfile.gettempdir()) / f"beingh_interfaces_{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    target = folder / f"{package}_{digest.hexdigest()[:16]}"
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            work = Path(tempfile.mkdtemp(dir=folder))
            _build(package, work)
            work.rename(target)
    return target


def _build(package: str, root: Path) -> None:
    os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix)
    share = root / "share"
    files = {".msg": [], ".action": []}
    for source in sorted((INTERFACES / package).rglob("*.*")):
        kind = source.suffix[1:]
        idl = share / package / kind / f"{source.stem}.idl"
        idl.parent.mkdir(parents=True, exist_ok=True)
        idl.write_text(_idl(package, kind, source))
        files[source.suffix].append(f"{share}/{package}:{kind}/{source.stem}.idl")
    _generate(package, root, files)
    _compile(package, root)


def _generate(package: str, root: Path, files: dict[str, list[str]]) -> None:
    """C and Python code of a package, and of the two type supports that the middleware asks for."""
    from rosidl_generator_c.cli import GenerateC
    from rosidl_generator_py.cli import GeneratePython
    from rosidl_typesupport_c.cli import GenerateCTypesupport
    from rosidl_typesupport_fastrtps_c.cli import GenerateFastRTPSCTypesupport
    from rosidl_typesupport_introspection_c.cli import GenerateIntrospectionCTypesupport

    share = root / "share"
    common = {"package_name": package, "include_paths": [str(Path(sys.prefix, "share")), str(share)]}
    for suffix, names in files.items():  # messages first: the actions' type hashes need theirs
        if names:
            GenerateC("c").generate(interface_files=names, output_path=root / package, **common)
            for description in (root / package / suffix[1:]).glob("*.json"):
                shutil.copy(description, share / package / suffix[1:])
    names = [name for group in files.values() for name in group]
    for generator, folder in (
        (GeneratePython("py", typesupport_implementations=["rosidl_typesupport_c"]), root / package),
        (GenerateCTypesupport("c", typesupport_implementations=list(TYPE_SUPPORTS)), root / package),
        (GenerateFastRTPSCTypesupport("fastrtps_c"), root / package),
        # Of its own: its files have the names of others above.
        (GenerateIntrospectionCTypesupport("introspection_c"), root / "introspection" / package),
    ):
        generator.generate(interface_files=names, output_path=folder, **common)
    (root / package / "__init__.py").touch()


def _compile(package: str, root: Path) -> None:
    """One library with everything, and one for each type support by the name under which it is looked up."""
    import numpy

    prefix, lib = Path(sys.prefix), Path(sys.prefix, "lib")
    folders = [
        root,
        root / "introspection",
        prefix / "include",
        *(p for p in (prefix / "include").iterdir() if p.is_dir()),
    ]
    folders += [sysconfig.get_paths()["include"], numpy.get_include()]
    includes = [f"-I{folder}" for folder in folders]

    def compiled(source: Path) -> str:
        compiler = ["g++", "-std=c++17"] if source.suffix == ".cpp" else ["gcc"]
        subprocess.run([*compiler, "-O0", "-w", "-fPIC", "-c", source, "-o", f"{source}.o", *includes], check=True)
        return f"{source}.o"

    sources = [path for path in root.rglob("*") if path.suffix in (".c", ".cpp")]
    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compiled, sources))
    kinds = ("typesupport_fastrtps_c", "typesupport_introspection_c", "typesupport_c", "generator_c", "generator_py")
    libraries = [path for kind in kinds for path in lib.glob(f"*__rosidl_{kind}.so")]
    names = (
        "runtime_c",
        "typesupport_c",
        "typesupport_fastrtps_c",
        "typesupport_fastrtps_cpp",
        "typesupport_introspection_c",
    )
    libraries += [
        lib / f"lib{name}.so" for name in (*(f"rosidl_{name}" for name in names), "fastcdr", "rcutils", "rmw")
    ]
    main = root / package / f"{package}_s__rosidl_typesupport_c.so"
    link = ["-Wl,--as-needed", *libraries, f"-Wl,-rpath,{lib}"]
    subprocess.run(["g++", "-shared", f"-Wl,-soname,{main.name}", "-o", main, *objects, *link], check=True)
    for support in TYPE_SUPPORTS:
        name = f"lib{package}__{support}.so"
        forward = ["-Wl,--no-as-needed", main, "-Wl,-rpath,$ORIGIN"]
        subprocess.run(["gcc", "-shared", f"-Wl,-soname,{name}", "-o", main.parent / name, *forward], check=True)
    for path in objects:
        os.remove(path)


def _idl(package: str, kind: str, source: Path) -> str:
    """The definition of one interface in the language that the generators read."""
    includes, aliases, structs = set(), [], []
    for suffix, text in zip(PARTS[source.suffix], source.read_text().split("---\n"), strict=True):
        fields, constants = [], []
        for line in filter(None, map(str.strip, text.splitlines())):
            written, name, *default = re.split(r"[\s=]+", line)
            if "=" in line:
                constants.append(f"const {IDL_TYPES.get(written, written)} {name} = {default[0]};")
                continue
            base, array, count = re.fullmatch(r"([\w/]+?)(\[(\d*)\])?", written).groups()
            if base in IDL_TYPES or base.islower() and "/" not in base:
                idl = IDL_TYPES.get(base, base)
            else:
                owner, _, message = base.rpartition("/")
                includes.add(f'#include "{owner or package}/msg/{message}.idl"')
                idl = f"{owner or package}::msg::{message}"
            if count:
                alias = f"{idl.replace('::', '__')}__{count}"
                aliases.append(f"typedef {idl} {alias}[{count}];")
                idl = alias
            elif array:
                idl = f"sequence<{idl}>"
            fields.append((f"@default (value={default[0]}) " if default else "") + f"{idl} {name};")
        name = source.stem + suffix
        if constants:
            structs.append(f"module {name}_Constants {{ {' '.join(constants)} }};")
        structs.append(f"struct {name} {{ {' '.join(fields or ['uint8 structure_needs_at_least_one_member;'])} }};")
    body = "\n".join([*dict.fromkeys(aliases), *structs])
    return "\n".join([*sorted(includes), f"module {package} {{ module {kind} {{", body, "}; };\n"])
