"""What a simulation needs of a robot and its URDF leaves open: meshes that are not there, links without mass."""

from __future__ import annotations

import os
from pathlib import Path

import mujoco
import numpy as np

# Of a link without mass [kg, kg m^2]: that of a small arm, since nothing is known of it.
_LINK_KG, _LINK_KG_M2 = 0.3, 1e-3
_READ = (".stl", ".obj", ".msh")
_TOLD = 4
# A line that is drawn for a robot without any shape: its radius, and the shortest way between joints that gets one [m].
_LINE_M, _SHORTEST_M = 0.012, 0.01


def complete(spec: mujoco.MjSpec, folder: Path) -> tuple[str, ...]:
    """Takes meshes from where they are, leaves out those that are not there, gives links that move and weigh nothing a mass.

    Args:
        spec: the robot, which is changed.
        folder: where its URDF is.

    Returns:
        What was left out or assumed, a line each.
    """
    lost = []
    for mesh in list(spec.meshes):
        found = _mesh_file(mesh.file, folder)
        if found is not None:
            mesh.file = str(found)
            continue
        lost += [geom.parent.name for geom in spec.geoms if geom.meshname == mesh.name]
        for geom in [geom for geom in spec.geoms if geom.meshname == mesh.name]:
            spec.delete(geom)
        spec.delete(mesh)
    light = [body for body in spec.bodies[1:] if len(body.joints) and not _weighs(body)]
    for body in light:
        body.explicitinertial, body.mass, body.inertia = True, _LINK_KG, [_LINK_KG_M2] * 3
        body.ipos, body.iquat = [0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]
    notes = []
    if not len(spec.geoms):
        _draw_lines(spec)
        notes.append("the URDF has no shapes: lines are drawn between the joints, which touch and grasp nothing")
    if lost:
        where = "set AMENT_PREFIX_PATH (source its workspace), or write <box>, <cylinder> or <sphere> in the URDF"
        notes.append(f"no shape of {_named(lost)}: the mesh is not there or none of {', '.join(_READ)}; {where}")
    if light:
        notes.append(
            f"no mass of {_named([body.name for body in light])}: {_LINK_KG:g} kg is taken; the URDF's <inertial> tells"
        )
    return tuple(notes)


def _draw_lines(spec: mujoco.MjSpec) -> None:
    """Draws the way from each link to those that it carries; lines weigh nothing and touch nothing."""
    spec.compiler.discardvisual = False  # else what touches nothing is not drawn
    for body in spec.bodies[1:]:
        parent = body.parent
        if parent.name != "world" and float(np.linalg.norm(body.pos)) > _SHORTEST_M:
            line = parent.add_geom(type=mujoco.mjtGeom.mjGEOM_CAPSULE, size=[_LINE_M, 0.0, 0.0])
            line.fromto = [0.0, 0.0, 0.0, *body.pos]
            line.contype = line.conaffinity = 0
            line.mass, line.rgba = 0.0, [0.55, 0.55, 0.6, 1.0]


def _mesh_file(name: str, folder: Path) -> Path | None:
    """The file of a mesh; None where there is none, or none that MuJoCo reads."""
    package, _, inside = name.removeprefix("package:").lstrip("/").partition("/")
    if name.startswith("package:"):
        roots = [above for above in (folder, *folder.parents) if above.name == package]
        roots += [above / package for above in (folder, *folder.parents)]
        shares = [
            Path(prefix) / "share" for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if prefix
        ]
        places = [root / inside for root in (*roots, *(share / package for share in shares))]
    else:
        places = [folder / name.removeprefix("file://")]
    return next((place for place in places if place.suffix.lower() in _READ and place.is_file()), None)


def _weighs(body: mujoco.MjsBody) -> bool:
    """Whether a body, or one that is fixed to it, has a mass or a shape of which MuJoCo computes one."""
    if (body.explicitinertial and body.mass > 0.0) or len(body.geoms):
        return True
    return any(_weighs(child) for child in body.bodies if not len(child.joints))


def _named(links: list[str]) -> str:
    names = list(dict.fromkeys(links))
    return ", ".join(f"`{name}`" for name in names[:_TOLD]) + (
        f" and {len(names) - _TOLD} more" if names[_TOLD:] else ""
    )
