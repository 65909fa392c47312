"""Datagrams as the JSON objects of ``docs/wire.md``."""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, Optional

from . import Datagram, Pose, Status


def _share(value: Optional[float]) -> Optional[float]:
    return None if value is None else round(value, 3)


def to_json(datagram: Datagram) -> Dict[str, Any]:
    """The object that ``posewire listen --format json`` prints, without its receive fields."""
    header, message = datagram.header, datagram.message
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
            person["score"] = _share(person["score"])
            person["plausibility"] = _share(person["plausibility"])
            for points in (person["joints"], person["keypoints"]):
                for name, point in (points or {}).items():
                    *place, confidence = point.values()
                    points[name] = [*place, _share(confidence)]
    return out


def _header(header: Any) -> Dict[str, Any]:
    return {**dataclasses.asdict(header), "session": f"{header.session:016x}"}
