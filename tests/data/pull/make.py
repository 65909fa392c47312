#!/usr/bin/env python3
"""Writes simcc.onnx, a network that has RTMPose's interface and answers the same everywhere; tests/models.rs serves it."""
import pathlib

from onnx import TensorProto, helper, save

shapes = [helper.make_tensor(f"s{n}", TensorProto.INT64, [3], [1, 17, n]) for n in (384, 512)]
nodes = [helper.make_node("ReduceMean", ["input"], ["mean"], axes=[1, 2, 3], keepdims=0), helper.make_node("Reshape", ["mean", "one"], ["m"]),
         helper.make_node("Expand", ["m", "s384"], ["simcc_x"]), helper.make_node("Expand", ["m", "s512"], ["simcc_y"])]
one = helper.make_tensor("one", TensorProto.INT64, [3], [1, 1, 1])
value = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
graph = helper.make_graph(nodes, "simcc", [value("input", ["batch", 3, 256, 192])], [value("simcc_x", ["batch", 17, 384]), value("simcc_y", ["batch", 17, 512])], [one, *shapes])
save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), pathlib.Path(__file__).with_name("simcc.onnx"))
