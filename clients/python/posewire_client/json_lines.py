"""Datagrams as the JSON objects of ``docs/wire.md``."""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, Optional

from .compact import Packet, Short
from .wire import Pose, Status, Unknown


def _share(value: Optional[float]) -> Optional[float]:
    return None if value is None else round(value, 3)


def to_json(packet: Packet) -> Dict[str, Any]:
    """The object that ``posewire listen --format json`` prints, without its receive fields."""
    if isinstance(packet, Short):
        return _short(packet)
    header, message = packet.header, packet.message
    if isinstance(message, Pose):
        kind: Any = "pose"
    elif isinstance(message, Status):
        kind = "status"
    else:
        return {"type": message.kind, **_header(header)}
    out = {"type": kind, **_header(header), **dataclasses.asdict(message)}
    if isinstance(message, Pose):
        out["model"] = f"{message.model:08x}"
        for person in out["persons"]:
            _person(person)
    return out


def _short(packet: Short) -> Dict[str, Any]:
    header = {"session": f"{packet.session:02x}", "packet": packet.packet}
    if isinstance(packet.message, Unknown):
        return {"type": packet.message.kind, **header}
    out = {"type": "compact", **header, **dataclasses.asdict(packet.message)}
    if out["person"] is not None:
        _person(out["person"])
    return out


def _person(person: Dict[str, Any]) -> None:
    person["score"] = _share(person["score"])
    person["plausibility"] = _share(person["plausibility"])
    for kind in ("joints", "keypoints"):
        points: Dict[str, Any] = person.get(kind) or {}
        for name, point in points.items():
            *place, confidence = point.values()
            points[name] = [*place, _share(confidence)]


def _header(header: Any) -> Dict[str, Any]:
    return {**dataclasses.asdict(header), "session": f"{header.session:016x}"}
