use super::*;

/// Every network that we ship.
fn shipped() -> Vec<(String, Vec<u8>)> {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "onnx") {
            all.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
    assert!(all.len() >= 9, "{} networks", all.len());
    all
}

#[test]
fn every_shipped_network_survives_being_read_and_written() {
    for (name, bytes) in shipped() {
        let model = read(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        let again = write(&model);
        assert_eq!(read(&again).unwrap(), model, "{name}");
        // Nothing that the messages do not know was in the file: nearly all of it are weights,
        // and lists may be packed or not.
        let lost = bytes.len().abs_diff(again.len());
        assert!(lost * 500 < bytes.len(), "{name}: {} bytes, then {}", bytes.len(), again.len());
        assert_eq!(opset(&model), 17, "{name}");
    }
}

#[test]
fn constants_are_found_behind_their_casts_and_put_back_as_f32() {
    for (name, bytes) in shipped() {
        let mut model = read(&bytes).unwrap();
        let graph = graph_mut(&mut model).unwrap();
        let casts = graph.node.iter().filter(|n| n.op_type == "Cast").count();
        assert!(casts > 0, "{name}");
        let constants = Constants::take(graph).unwrap();
        assert!(graph.node.iter().all(|n| n.op_type != "Cast"), "{name}");
        let halves = |t: &TensorProto| t.data_type == DataType::Float16 as i32;
        assert!(!graph.initializer.iter().any(halves), "{name}");
        constants.put_back(graph);
        // Every input of every node is there.
        let mut known: HashSet<&str> = graph.initializer.iter().map(|t| &t.name[..]).collect();
        known.extend(graph.input.iter().map(|i| &i.name[..]));
        known.insert("");
        for node in &graph.node {
            for input in &node.input {
                assert!(known.contains(&input[..]), "{name}: {input}");
            }
            known.extend(node.output.iter().map(|o| &o[..]));
        }
    }
}

#[test]
fn what_would_be_lost_is_refused_and_said() {
    let said = |change: &dyn Fn(&mut ModelProto)| {
        let mut model = read(&shipped()[0].1).unwrap();
        change(&mut model);
        read(&write(&model)).unwrap_err()
    };
    assert!(said(&|m| m.graph = None).contains("no graph"));
    let foreign = said(&|m| m.graph.as_mut().unwrap().node[0].domain = "com.acme".into());
    assert!(foreign.contains("com.acme"), "{foreign}");
    let nested = said(&|m| {
        let a = AttributeProto { g: Some(GraphProto::default()), ..AttributeProto::default() };
        m.graph.as_mut().unwrap().node[0].attribute.push(a);
    });
    assert!(nested.contains("graphs within graphs"), "{nested}");
    assert!(read(b"\x0a\xff\xff").unwrap_err().contains("truncated"));
}

#[test]
fn a_stem_is_the_same_in_all_graphs_of_a_network() {
    assert_eq!(stem("tem0_qkv_w_f16_51"), "tem0_qkv_w");
    assert_eq!(stem("tem0_qkv_w_52"), "tem0_qkv_w");
    assert_eq!(stem("trunk.s8.0.0.weight.f16"), "trunk.s8.0.0.weight");
    assert_eq!(stem("head_b"), "head_b");
}
