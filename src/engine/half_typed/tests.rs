use super::*;

fn graph(name: &str) -> GraphProto {
    let path = format!("{}/models/{name}.onnx", env!("CARGO_MANIFEST_DIR"));
    let half = to_half(&std::fs::read(path).unwrap()).unwrap();
    ModelProto::decode(&*half).unwrap().graph.unwrap()
}

/// Products by weights: how many in `f16`, how many in `f32`.
fn products(graph: &GraphProto) -> (usize, usize) {
    let halves: HashSet<&String> = graph
        .initializer
        .iter()
        .filter(|w| w.data_type == DataType::Float16 as i32)
        .map(|w| &w.name)
        .collect();
    let all = graph.node.iter().filter(|n| PRODUCTS.contains(&n.op_type.as_str()));
    let (half, rest): (Vec<_>, Vec<_>) = all.partition(|n| halves.contains(&n.input[1]));
    (half.len(), rest.len())
}

#[test]
fn a_detector_is_in_half_precision_throughout_and_its_borders_are_not() {
    for name in ["posewire-keypoints", "posewire-finder"] {
        let graph = graph(name);
        let (half, rest) = products(&graph);
        assert!(half > 20 && rest == 0, "{name}: {half} and {rest}");
        let first = &graph.node.iter().find(|n| n.input.contains(&graph.input[0].name)).unwrap();
        assert_eq!(first.op_type, "Cast");
        for output in &graph.output {
            let last = graph.node.iter().find(|n| n.output.contains(&output.name)).unwrap();
            assert_eq!(last.attribute[0].i, DataType::Float as i64, "{name} {}", output.name);
        }
    }
}

#[test]
fn of_a_lifter_the_products_behind_the_first_attention_are() {
    for part in ["", ".window"] {
        let graph = graph(&format!("pstmo_s_81_live{part}"));
        let half = |start: &str| {
            let of_it = |n: &&NodeProto| n.op_type == "MatMul" && n.name.starts_with(start);
            let products = graph.node.iter().filter(of_it);
            let (half, single): (Vec<_>, Vec<_>) =
                products.partition(|n| n.output[0].ends_with("_wide_sum"));
            (half.len(), single.len())
        };
        // Of a block: queries, keys and values, scores, their mix, projection; two of feed-forward.
        assert_eq!(half("tem0"), (2, if part.is_empty() { 4 } else { 3 }), "{part}");
        assert_eq!(half("tem1"), (6, 0), "{part}");
        assert_eq!(half("tem2"), (4, 2), "{part}");
        for block in ["mofa0", "mofa1", "mofa2", "mofa3"] {
            assert_eq!(half(block), (6, 0), "{part} {block}");
        }
        for rest in ["sem", "ctx", "asked", "vte", "head"] {
            assert_eq!(half(rest).0, 0, "{part} {rest}");
        }
    }
    // Nothing of a single frame.
    let frame = graph("pstmo_s_81_live.frame");
    assert!(frame.node.iter().all(|n| !n.output[0].ends_with("_wide_sum")));
}

#[test]
fn the_same_file_comes_out_every_time_and_what_is_no_network_does_not() {
    let path = format!("{}/models/pstmo_s_27_live.onnx", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(path).unwrap();
    assert_eq!(to_half(&bytes).unwrap(), to_half(&bytes).unwrap());
    assert!(to_half(b"words").unwrap_err().contains("ONNX"));
    assert!(to_half(&[]).unwrap_err().contains("no graph"));
    let large = TensorProto { float_data: vec![1.0, 1e5], ..TensorProto::default() };
    assert!(halves(&large).unwrap_err().contains("too much for f16"));
}
