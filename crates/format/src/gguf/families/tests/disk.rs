//! Models on the disk, for checks by other programs.

use std::path::Path;

use super::*;

/// A folder of transformers, from the disk.
fn folder(path: &Path) -> MemoryFolder {
    let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| path.is_file());
    MemoryFolder::new(
        files
            .map(|path| {
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                Section::of_bytes(name, std::fs::read(&path).unwrap())
            })
            .collect(),
    )
}

/// Writes `NAME.gguf` beside each folder `NAME` of `$WH_MODELS`, and what comes back of it as `NAME.back`.
#[test]
#[ignore = "needs a folder of models"]
fn folders_of_transformers_become_files_and_folders_again() {
    let root = std::env::var("WH_MODELS").unwrap();
    let limits = Limits::default();
    for entry in std::fs::read_dir(&root).unwrap() {
        let path = entry.unwrap().path();
        if !path.join("config.json").is_file() || path.extension().is_some() {
            continue;
        }
        let folder = folder(&path);
        let files = Files::read(&folder, "", &limits).unwrap();
        let config = serde_json::from_slice(&std::fs::read(path.join("config.json")).unwrap()).unwrap();
        let tensors = crate::safetensors::read(&folder.open("model.safetensors").unwrap(), &limits).unwrap().tensors;
        let source = Source { tensors: &tensors, config: &config, files: &files };
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let planned = plan_hf(&source, &Wanted { name: Some(name), ..Wanted::new(FileType::F32) }).unwrap();
        println!("{}: {:?}", path.display(), planned.notes);
        let output = plan(&planned.metadata, &planned.tensors, &Options::new("m.gguf")).unwrap();
        let bytes = made::file(&folder, &output[0], &planned.tensors);
        std::fs::write(path.with_extension("gguf"), &bytes).unwrap();

        let section = Section::of_bytes("m.gguf", bytes);
        let tensors = crate::gguf::read(&section, &limits).unwrap().tensors;
        let entries = metadata::read(&section, &limits).unwrap();
        let folder = MemoryFolder::new(vec![section]);
        let stored = Stored { metadata: &entries, tensors: &tensors, folder: &folder, limits: &limits };
        let back = restore_hf(&stored, Some(Dtype::F32)).unwrap();
        println!("  back: {:?}", back.notes);
        let target = path.with_extension("back");
        std::fs::create_dir_all(&target).unwrap();
        let mut header = Map::new();
        let mut data = Vec::new();
        for tensor in &back.tensors {
            let begin = data.len();
            data.extend(made::floats(&folder, tensor).into_iter().flat_map(|number| (number as f32).to_le_bytes()));
            header.insert(
                tensor.name.clone(),
                json!({"dtype": "F32", "shape": tensor.shape, "data_offsets": [begin, data.len()]}),
            );
        }
        let header = Json::Object(header).to_string();
        let file = [(header.len() as u64).to_le_bytes().as_slice(), header.as_bytes(), &data].concat();
        std::fs::write(target.join("model.safetensors"), file).unwrap();
        std::fs::write(target.join("config.json"), Json::Object(back.config).to_string()).unwrap();
        for (name, bytes) in back.files {
            std::fs::write(target.join(name), bytes).unwrap();
        }
    }
}
