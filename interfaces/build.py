"""Message packages for machines without a ROS installation: `python interfaces/build.py`, which `make environment` runs.

The folders beside this file hold the fields of the interfaces that drivers use and that no wheel brings (names, types and
order as in the packages' definitions, which is what the wire depends on). From them the generators of the installed ROS wheels
make C and Python code, and the C compiler libraries: packages that any program of the environment can import. What is
installed already stays as it is.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

INTERFACES = Path(__file__).resolve().parent
PACKAGES = tuple(
    sorted(path.name for path in INTERFACES.iterdir() if (path / "msg").is_dir() or (path / "action").is_dir())
)
PARTS = {".msg": ("",), ".action": ("_Goal", "_Result", "_Feedback")}
TYPE_SUPPORTS = ("rosidl_typesupport_fastrtps_c", "rosidl_typesupport_introspection_c")
IDL_TYPES = {"bool": "boolean", "float32": "float", "float64": "double"}
# In a package that this program has built: its digest.
MARK = "built_from"
# The dynamic linker would not search the package's folder.
INIT = '''"""Built from the fields of its interfaces."""

import ctypes
from pathlib import Path

for _support in {supports}:
    ctypes.CDLL(str(Path(__file__).parent / f"lib{package}__{{_support}}.so"), ctypes.RTLD_GLOBAL)
'''


def is_importable(package: str) -> bool:
    """Whether a package can be imported; a folder of fields is none."""
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None


def digest(package: str) -> str:
    """Of what a built package depends on."""
    found = hashlib.sha256(f"{sys.version} {sys.prefix}".encode())
    for path in [Path(__file__), *sorted(path for path in (INTERFACES / package).rglob("*") if path.is_file())]:
        found.update(path.read_bytes())
    return found.hexdigest()


def lacking() -> str:
    """Why nothing can be built here, "" where it can."""
    if shutil.which("gcc") is None or shutil.which("g++") is None:
        return "there is no C compiler (gcc, g++)"
    if not Path(sysconfig.get_paths()["include"], "Python.h").is_file():
        return "there are no Python headers (python3-dev)"
    return ""


def build(package: str, folder: Path) -> None:
    """Makes `folder/package`, which is importable with `folder` on the path.

    Raises:
        CalledProcessError: the compiler fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as work:
        # The generators tell of their own entry points on every call.
        with contextlib.redirect_stderr(io.StringIO()):
            _build(package, Path(work))
        shutil.rmtree(folder / package, ignore_errors=True)
        Path(work, package, MARK).write_text(digest(package))
        os.rename(Path(work, package), folder / package)


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
    (root / package / "__init__.py").write_text(INIT.format(supports=TYPE_SUPPORTS, package=package))


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
    for path in sorted((root / package).rglob("*"), reverse=True):
        if path.is_dir():
            with contextlib.suppress(OSError):
                path.rmdir()
        elif path.suffix not in (".py", ".so"):
            path.unlink()


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


def main() -> int:
    """Builds what is not installed; exit status 0 also where nothing can be built, which is told."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--done", type=Path, help="file that is written once all are there")
    parser.add_argument("--into", type=Path, help="folder of the packages; default this environment's")
    given = parser.parse_args()
    folder = given.into or Path(sysconfig.get_paths()["purelib"])
    missing = [package for package in PACKAGES if not _is_installed(package, folder)]
    if missing and (why := lacking()):
        print(f"{why}, so {', '.join(missing)} are not built: robots whose drivers need them cannot be simulated here")
        return 0
    for package in missing:
        build(package, folder)
    if given.done:
        given.done.touch()
    return 0


def _is_installed(package: str, folder: Path) -> bool:
    """Whether it is there, as its fields say it where this program has built it."""
    mark = folder / package / MARK
    return mark.read_text() == digest(package) if mark.is_file() else is_importable(package)


if __name__ == "__main__":
    sys.exit(main())
