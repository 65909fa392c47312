#!/usr/bin/env python3
"""A recording, read by others: MCAP's reference reader, and Foxglove's own schemas.

    python3 tests/check_recording.py target/debug/posewire

Needs `mcap`, `mcap-protobuf-support` and `foxglove-schemas-protobuf` from PyPI, in a venv.
"""
import importlib
import json
import pathlib
import struct
import subprocess
import sys
import tempfile

from google.protobuf import descriptor_pb2
from mcap.reader import make_reader
from mcap_protobuf.decoder import DecoderFactory

ROOT = pathlib.Path(__file__).resolve().parent.parent
FRAMES = 60


def described(message):
    """What of a message's descriptor the wire and a viewer depend on."""
    fields = {
        f.name: (f.number, f.type, f.label, f.type_name.lstrip("."), f.proto3_optional) for f in message.field
    }
    enums = {e.name: {v.name: v.number for v in e.value} for e in message.enum_type}
    return fields, enums


def compare_schema(data):
    """Every message of our set against Foxglove's of the same name."""
    ours = descriptor_pb2.FileDescriptorSet.FromString(data)
    compared = 0
    for file in ours.file:
        if file.package != "foxglove":
            continue
        for message in file.message_type:
            module = importlib.import_module(f"foxglove_schemas_protobuf.{message.name}_pb2")
            theirs = descriptor_pb2.DescriptorProto()
            getattr(module, message.name).DESCRIPTOR.CopyToProto(theirs)
            assert described(message) == described(theirs), f"{message.name}:\n{message}\n{theirs}"
            compared += 1
    return compared


def main(program):
    with tempfile.TemporaryDirectory() as folder:
        for exact in (False, True):
            file = pathlib.Path(folder) / f"{exact}.mcap"
            models = ROOT / "tests/data/models"
            command = [program, "run", "--source", f"demo:{FRAMES / 30}", "--models", models, "--record", file]
            command += ["--record-exact"] if exact else []
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
            check(file, exact)


def check(path, exact):
    with path.open("rb") as stream:
        reader = make_reader(stream, validate_crcs=True, decoder_factories=[DecoderFactory()])
        assert reader.get_header().profile == "posewire"
        summary = reader.get_summary()
        assert summary.statistics.metadata_count == 1
        (about,) = [m.metadata for m in reader.iter_metadata() if m.name == "posewire"]
        assert {m["kind"] for m in json.loads(about["models"])} == {"finder", "keypoints", "lifter"}
        assert "[source]" in about["config"], about["config"]
        compared = {compare_schema(s.data) for s in summary.schemas.values() if s.encoding == "protobuf"}
        assert compared == {27}, f"{compared} messages were compared"

        counts, times, packets = {}, [], 0
        for message in reader.iter_messages():
            _, channel, record = message
            counts[channel.topic] = counts.get(channel.topic, 0) + 1
            times.append(record.log_time)
            if channel.topic.endswith("/packets"):
                assert record.data[:4] == b"PWIR"
                (length,) = struct.unpack_from("<H", record.data, 8)
                assert length == len(record.data)
                packets += 1
        for topic in ("frame", "keypoints", "scene", "transforms", "image_raw" if exact else "image"):
            assert counts[f"/camera/0/{topic}"] == FRAMES, counts
        assert counts["/status"] >= 1 and counts["/camera/0/calibration"] >= 1, counts
        assert packets >= FRAMES
        # A recording of two seconds lasts two seconds on a viewer's time line, however fast it was made.
        span = (max(times) - min(times)) / 1e9
        assert abs(span - (FRAMES - 1) / 30) < 0.1, span

        kinds = {}
        for schema, channel, record, decoded in reader.iter_decoded_messages(
            topics=[t for t in counts if not t.endswith(("/packets", "/frame", "/status"))]
        ):
            kinds.setdefault(schema.name, decoded)
        image = kinds["foxglove.RawImage" if exact else "foxglove.CompressedImage"]
        if exact:
            assert (image.width, image.height, image.encoding, image.step) == (640, 480, "yuyv", 1280)
            assert len(image.data) == 640 * 480 * 2
        else:
            assert image.format == "jpeg" and image.data[:2] == b"\xff\xd8"
        lens = kinds["foxglove.CameraCalibration"]
        assert (lens.width, lens.height, len(lens.K), len(lens.P), len(lens.D)) == (640, 480, 9, 12, 5)
        # The first frames have nobody in them yet; the kinds are there all the same.
        assert {"foxglove.ImageAnnotations", "foxglove.SceneUpdate", "foxglove.FrameTransforms"} <= kinds.keys()
        scenes = [d for s, _, _, d in reader.iter_decoded_messages(topics=["/camera/0/scene"]) if d.entities]
        assert len(scenes) > FRAMES / 2
        assert len(scenes[-1].entities[0].spheres) == 17
        print(f"{path.name}: {len(times)} messages over {span:.2f} s on {len(counts)} topics, {len(kinds)} Foxglove schemas as published")


if __name__ == "__main__":
    main(sys.argv[1])
