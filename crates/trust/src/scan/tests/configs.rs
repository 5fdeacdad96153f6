use serde_json::{Value, json};

use super::made::{Zip, calls};
use super::*;

fn json_verdict(name: &str, value: &Value) -> Verdict {
    verdict(name, value.to_string())
}

#[test]
fn configurations_that_ask_for_code_are_caution_and_those_that_force_it_unsafe() {
    for (value, expected) in [
        (json!({"model_type": "bert", "architectures": ["BertModel"], "vocab_size": 30522}), Verdict::Safe),
        (json!({"auto_map": {"AutoModel": "modeling_x.X"}}), Verdict::Caution),
        (json!({"auto_map": {"AutoModel": "someone/else--modeling_x.X"}}), Verdict::Caution),
        (json!({"text_config": {"auto_map": {"AutoModel": ["m.X", null]}}}), Verdict::Caution),
        (json!({"custom_pipelines": {"x": {"impl": "p.X"}}}), Verdict::Caution),
        (json!({"trust_remote_code": false}), Verdict::Safe),
        (json!({"trust_remote_code": true}), Verdict::Unsafe),
        (json!({"vision_config": [{"trust_remote_code": 1}]}), Verdict::Unsafe),
        (json!({"_attn_implementation": "sdpa"}), Verdict::Safe),
        (json!({"_attn_implementation_internal": "someone/kernel"}), Verdict::Unsafe),
        (json!({"text_config": {"attn_implementation": {"": "someone/kernel@main:f"}}}), Verdict::Unsafe),
        (json!({"_target_": "torch.nn.Linear"}), Verdict::Safe),
        (json!({"a": [{"_target_": "my.Net"}]}), Verdict::Caution),
        (json!({"_target_": "os.system", "_args_": ["id"]}), Verdict::Unsafe),
        (json!({"target": "subprocess.run", "params": {}}), Verdict::Unsafe),
        (json!({"auto_mapping": {"parent_library": "os"}}), Verdict::Unsafe),
        (json!({"auto_mapping": {"parent_library": "transformers.models.bert.modeling_bert"}}), Verdict::Safe),
        (json!({"range_constraints": {"expr_str": "s0 + 2*Max(1, s1)"}}), Verdict::Safe),
        (json!({"range_constraints": {"expr_str": "__import__('os').system('id')"}}), Verdict::Unsafe),
    ] {
        assert_eq!(json_verdict("config.json", &value), expected, "{value}");
    }
    assert_eq!(json_verdict("results.json", &json!({"trust_remote_code": true})), Verdict::Caution);
    assert_eq!(verdict("config.json", "{\"a\": NaN, \"b\": {\"trust_remote_code\": true}}"), Verdict::Unsafe);
    assert_eq!(verdict("config.json", "{\"a\": "), Verdict::Error);
}

#[test]
fn pipelines_and_modules_outside_their_libraries_are_told() {
    for (name, value, expected) in [
        (
            "model_index.json",
            json!({"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"], "safety_checker": [null, null]}),
            Verdict::Safe,
        ),
        ("model_index.json", json!({"_class_name": "X", "unet": ["my_unet", "UNet"]}), Verdict::Caution),
        ("model_index.json", json!({"_class_name": ["pipeline", "Mine"]}), Verdict::Caution),
        ("model_index.json", json!({"_class_name": "X", "unet": ["os", "system"]}), Verdict::Unsafe),
        ("modules.json", json!([{"idx": 0, "type": "sentence_transformers.models.Transformer"}]), Verdict::Safe),
        ("modules.json", json!([{"idx": 0, "type": "custom.Module"}]), Verdict::Caution),
        ("modules.json", json!([{"idx": 0, "type": "os.system"}]), Verdict::Unsafe),
        (
            "schema.json",
            json!({"__class__": "SVC", "__module__": "sklearn.svm", "__loader__": "ObjectNode"}),
            Verdict::Safe,
        ),
        (
            "schema.json",
            json!({"__class__": "system", "__module__": "os", "__loader__": "FunctionNode"}),
            Verdict::Unsafe,
        ),
        (
            "schema.json",
            json!({"a": {"__class__": "X", "__module__": "evil", "__loader__": "TypeNode"}}),
            Verdict::Suspicious,
        ),
    ] {
        assert_eq!(json_verdict(name, &value), expected, "{name} {value}");
    }
}

#[test]
fn yaml_that_builds_objects_is_unsafe() {
    for (text, expected) in [
        ("a: 1\nb: [x, y]\n", Verdict::Safe),
        ("a: !!python/object/apply:os.system [id]\n", Verdict::Unsafe),
        ("a: !!python/name:os.system\n", Verdict::Unsafe),
        ("a: !<tag:yaml.org,2002:python/object/apply:os.system> [id]\n", Verdict::Unsafe),
        ("%TAG ! tag:yaml.org,2002:python/\n---\na: !object/apply:os.system [id]\n", Verdict::Unsafe),
        ("a: !!python/tuple [1, 2]\n", Verdict::Caution),
        ("# about !!python/object\na: 'and !!python/object'\n", Verdict::Safe),
        ("model:\n  _target_: os.system\n", Verdict::Unsafe),
        ("model:\n  _target_: nemo.collections.asr.models.X\n  target: nemo.y.Z\n", Verdict::Safe),
        ("model: !mine\n  _target_: os.system\n", Verdict::Unsafe),
        ("auto_map: {AutoModel: m.X}\n", Verdict::Caution),
    ] {
        assert_eq!(verdict("config.yaml", text), expected, "{text}");
    }
    assert_eq!(
        verdict("MLmodel", "flavors:\n  python_function:\n    loader_module: mlflow.sklearn\n"),
        Verdict::Caution
    );
}

#[test]
fn keras_configurations_are_walked_to_any_depth() {
    let layer = |class: &str, more: Value| {
        let mut layer = json!({"class_name": class, "config": {}});
        layer.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"class_name": "Sequential", "module": "keras", "config": {"layers": [{"class_name": "TimeDistributed", "module": "keras.layers", "config": {"layer": layer}}]}})
    };
    for (class, more, expected) in [
        ("Dense", json!({"module": "keras.layers"}), Verdict::Safe),
        ("Dense", json!({}), Verdict::Safe),
        ("Lambda", json!({"module": "keras.layers"}), Verdict::Unsafe),
        ("__lambda__", json!({}), Verdict::Unsafe),
        ("TFSMLayer", json!({"module": "keras.layers"}), Verdict::Unsafe),
        ("TorchModuleWrapper", json!({"module": "keras.layers"}), Verdict::Unsafe),
        ("function", json!({"module": "os", "config": "system"}), Verdict::Unsafe),
        ("function", json!({"module": "keras.utils", "config": "get_file"}), Verdict::Unsafe),
        ("run", json!({"module": "subprocess"}), Verdict::Unsafe),
        ("enable_unsafe_deserialization", json!({"module": "keras.config"}), Verdict::Unsafe),
        ("Mine", json!({"module": "__main__", "registered_name": "Custom>Mine"}), Verdict::Caution),
        (
            "StringLookup",
            json!({"module": "keras.layers", "config": {"vocabulary": "/etc/passwd"}}),
            Verdict::Suspicious,
        ),
        ("StringLookup", json!({"module": "keras.layers", "config": {"vocabulary": ["a", "b"]}}), Verdict::Safe),
    ] {
        let config = layer(class, more.clone()).to_string();
        let bytes = Zip::default().add("metadata.json", b"{}").add("config.json", config.as_bytes()).finish();
        let scan = scanned("m.keras", bytes);
        assert_eq!(scan.verdict, expected, "{class} {more}: {:#?}", scan.findings);
        assert!(scan.formats.contains(&"keras".into()));
    }
}

#[test]
fn pickles_in_json_are_judged() {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let base64 = |bytes: &[u8]| -> String {
        let mut out = String::new();
        for three in bytes.chunks(3) {
            let word = three.iter().fold(0u32, |word, &byte| word << 8 | u32::from(byte)) << (8 * (3 - three.len()));
            for place in 0..4 {
                let digit = DIGITS[(word >> (18 - 6 * place) & 63) as usize];
                out.push(if place > three.len() { '=' } else { char::from(digit) });
            }
        }
        out
    };
    let data = |pickle: &[u8]| {
        let settings = json!({"policy_class": {":type:": "<class>", ":serialized:": base64(pickle)}}).to_string();
        Zip::default().add("data", settings.as_bytes()).add("_stable_baselines3_version", b"2.9.2").finish()
    };
    let scan = scanned("m.zip", data(&calls("os", "system")));
    assert_eq!(scan.verdict, Verdict::Unsafe);
    assert_eq!(scan.findings[0].member.as_deref(), Some("data!policy_class.:serialized:"));
    assert_eq!(verdict("m.zip", data(b"\x80\x04cgymnasium.spaces.box\nBox\n.")), Verdict::Safe);
}

#[test]
fn scripts_native_code_and_secrets_are_told() {
    for (name, bytes, expected) in [
        ("modeling_x.py", &b"import os\n"[..], Verdict::Caution),
        ("run.sh", b"#!/bin/sh\nid\n", Verdict::Caution),
        ("notes.txt", b"plain text\n", Verdict::Safe),
        ("ops.so", b"\x7fELF\x02\x01\x01\0", Verdict::Caution),
        ("model.bin", b"\x7fELF\x02\x01\x01\0", Verdict::Suspicious),
        ("requirements.txt", b"torch==2.0\n", Verdict::Safe),
        ("requirements.txt", b"torch @ git+https://example.org/x\n", Verdict::Caution),
        ("README.md", "a \u{202e}txt".as_bytes(), Verdict::Caution),
        ("x.py", "a = '\u{2066}'".as_bytes(), Verdict::Suspicious),
        ("key.txt", b"-----BEGIN PRIVATE KEY-----\nabc\n", Verdict::Caution),
        ("picture.png", b"\x89PNG\r\n\x1a\n\0\0", Verdict::Safe),
        ("weights.dat", b"\x01\x02\x03\x00\xff\xfe", Verdict::Caution),
        ("weights.pkl", b"\x01\x02\x03\x00\xff\xfe", Verdict::Error),
    ] {
        assert_eq!(verdict(name, bytes), expected, "{name}");
    }
}
