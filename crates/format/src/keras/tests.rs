use proptest::prelude::*;
use serde_json::json;

use super::{config, read, read_sharded, scan};
use crate::contents::{CodeWay, Contents, WarningKind};
use crate::limits::Limits;
use crate::source::{MemoryFolder, Section};

fn code(config: serde_json::Value) -> Vec<(String, CodeWay)> {
    let mut contents = Contents::default();
    scan(&config, "config.json", &mut contents);
    contents.code.into_iter().map(|code| (code.name, code.way)).collect()
}

#[test]
fn keras_own_layers_are_no_code() {
    let plain = json!({"module": "keras", "class_name": "Sequential", "registered_name": null, "config": {"layers": [
        {"module": "keras.layers", "class_name": "Dense", "registered_name": null, "config": {"activation": "relu"}},
        {"module": "keras.src.layers.core.dense", "class_name": "Dense", "registered_name": "keras>Dense"},
        {"module": "keras.layers", "class_name": "StringLookup", "config": {"vocabulary": ["a", "b"]}},
    ]}});
    assert_eq!(code(plain), []);
}

#[test]
fn whatever_keras_would_import_or_run_is_code() {
    let one = |value| code(json!({"layers": [{"deep": [value]}]}));
    let named = |name: &str, way| vec![(name.to_owned(), way)];
    assert_eq!(one(json!({"class_name": "Lambda", "config": {}})), named("Lambda", CodeWay::Program));
    assert_eq!(
        one(json!({"module": "os", "class_name": "function", "config": "system"})),
        named("os.system", CodeWay::Configuration)
    );
    assert_eq!(
        one(json!({"module": "keras.utils", "class_name": "function", "config": "get_file"})),
        named("get_file", CodeWay::Operator)
    );
    assert_eq!(
        one(json!({"module": null, "class_name": "Mine", "registered_name": "Custom>Mine"})),
        named("Custom>Mine", CodeWay::Configuration)
    );
    assert_eq!(
        one(json!({"module": "kerasevil", "class_name": "Dense"})),
        named("kerasevil.Dense", CodeWay::Configuration)
    );
    assert_eq!(
        one(json!({"class_name": "StringLookup", "config": {"vocabulary": "/etc/passwd"}})),
        named("StringLookup.vocabulary", CodeWay::Operator)
    );
}

#[test]
fn the_optimizers_class_is_its_kind() {
    let kind = |value: serde_json::Value| config::optimizer(value.as_object().unwrap());
    assert_eq!(kind(json!({"optimizer": {"class_name": "AdamW"}})).as_deref(), Some("AdamW"));
    assert_eq!(kind(json!({"optimizer_config": {"class_name": "Custom>adam"}})).as_deref(), Some("Adam"));
    assert_eq!(kind(json!({"optimizer": "rmsprop"})).as_deref(), Some("RMSprop"));
    assert_eq!(kind(json!({})), None);
}

#[test]
fn shards_lie_beside_their_index() {
    let open = |index: &str| {
        let folder = MemoryFolder::new(vec![Section::of_bytes("m/model.weights.json", index)]);
        read_sharded(&folder, "m/model.weights.json", &Limits::default())
    };
    let outside = open(r#"{"weight_map": {"a": ["../x.h5"]}}"#).unwrap_err().to_string();
    assert_eq!(outside, "index of shards breaks the rule that shards lie beside it");
    let missing = open(r#"{"weight_map": {"a": "x.h5"}}"#).unwrap();
    assert_eq!(missing.warnings[0].kind, WarningKind::Missing);
    assert!(open("{}").is_err());
    assert!(open("[").is_err());
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = read(&Section::of_bytes("m", bytes), &Limits::default());
    }
}
