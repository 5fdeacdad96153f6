//! Pages about the inside of checkpoints.

use http::{StatusCode, header};
use serde_json::{Map, Value, json};
use weighthouse::RepoKind;

use super::{Ground, ground, twin};

/// A safetensors file of `F32` tensors.
pub(super) fn weights(tensors: &[(String, Vec<u64>, Vec<f32>)]) -> Vec<u8> {
    let mut header = Map::new();
    let mut data: Vec<u8> = Vec::new();
    for (name, shape, values) in tensors {
        let begin = data.len();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let info = json!({"dtype": "F32", "shape": shape, "data_offsets": [begin, data.len()]});
        header.insert(name.clone(), info);
    }
    let header = Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(data);
    file
}

/// Four layers that are alike, an embedding and a head.
pub(super) fn layered() -> Vec<u8> {
    let table: Vec<f32> = (0..40 * 20).map(|i| i as f32 / 8.0).collect();
    let mut tensors = vec![("model.embed_tokens.weight".to_owned(), vec![40, 20], table)];
    for layer in 0..4 {
        tensors.push((format!("model.layers.{layer}.self_attn.q_proj.weight"), vec![20, 20], vec![layer as f32; 400]));
        tensors.push((format!("model.layers.{layer}.input_layernorm.weight"), vec![20], vec![1.0; 20]));
    }
    tensors.push(("lm_head.weight".to_owned(), vec![2, 20], vec![f32::NAN; 40]));
    weights(&tensors)
}

pub(super) fn config() -> Vec<u8> {
    json!({"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 20}).to_string().into()
}

async fn llama() -> Ground {
    let ground = ground().await;
    ground.model("m", &[("model.safetensors", &layered()), ("config.json", &config())]).await;
    ground.hub.work_off().await.unwrap();
    ground
}

pub(super) async fn json_at(ground: &Ground, path: &str) -> Value {
    let reply = ground.get(path).await;
    assert_eq!(reply.status, StatusCode::OK, "{path}\n{}", reply.body);
    serde_json::from_str(&reply.body).unwrap()
}

/// The twin of a page, which must answer.
pub(super) async fn twin_of(ground: &Ground, html: &str) -> Value {
    json_at(ground, &twin(html).replace("&#38;", "&").replace("&amp;", "&")).await
}

#[tokio::test]
async fn tensors_are_shown_level_by_level() {
    let ground = llama().await;
    let root = ground.page("/ada/m/tensors/main").await;
    for part in ["10 tensors", "2.5k parameters", "safetensors", "LlamaForCausalLM", ">model<", ">lm_head.weight<"] {
        assert!(root.contains(part), "{part}\n{root}");
    }
    let model = ground.page("/ada/m/tensors/main?module=model").await;
    assert!(model.contains("layers.0–3") && model.contains("4 alike"), "{model}");
    assert!(model.contains("href=\"/ada/m/tensors/main?module=model.layers.0\""), "{model}");
    let each = ground.page("/ada/m/tensors/main?module=model.layers&fold=false").await;
    assert!(each.contains("<code>3</code>") && each.contains("Fold what is alike"), "{each}");
    let layer = ground.page("/ada/m/tensors/main?module=model.layers.2").await;
    assert!(layer.contains("self_attn.q_proj") && layer.contains("input_layernorm"), "{layer}");
    let found = ground.page("/ada/m/tensors/main?search=Q_PROJ").await;
    assert!(found.contains("4 names with") && found.contains("model.layers.3.self_attn.q_proj.weight"), "{found}");
    assert!(ground.page("/ada/m/tensors/main?search=nothing").await.contains("No name has this text"));
    assert!(ground.page("/ada/m/tensors/main?module=nothing").await.contains("There is no such module"));
    let twin = twin_of(&ground, &model).await;
    assert_eq!(twin["schema"], "weighthouse.tensors/1");
    let layers = twin["rows"].as_array().unwrap().iter().find(|row| row["label"] == "layers.0–3").unwrap();
    assert_eq!((&layers["kind"], &layers["alike"], &layers["elements"]), (&json!("module"), &json!(4), &json!(1680)));
    for tab in ["/ada/m", "/ada/m/tree/main", "/ada/m/blob/main/model.safetensors"] {
        assert!(ground.page(tab).await.contains("/ada/m/tensors/main"), "{tab}");
    }
    let one = ground.page("/ada/m/tensors/main/model.safetensors?module=model.layers.0").await;
    assert!(one.contains("/ada/m/tensors/main/model.safetensors?name=model.layers.0.self_attn"), "{one}");
}

#[tokio::test]
async fn many_tensors_come_in_pages() {
    let ground = ground().await;
    let tensors: Vec<_> = (0..1_050).map(|i| (format!("t{i}"), vec![1], vec![i as f32])).collect();
    ground.model("m", &[("model.safetensors", &weights(&tensors))]).await;
    let first = ground.page("/ada/m/tensors/main").await;
    assert!(first.contains("Rows 1 to 200 of 1050") && first.contains(">t199<") && !first.contains(">t200<"));
    let last = ground.page("/ada/m/tensors/main?p=5").await;
    assert!(last.contains(">t1049<") && last.contains("rel=\"prev\"") && !last.contains("rel=\"next\""));
    let reply = ground.get("/api/models/ada/m/tensors/main?limit=1000").await;
    let next = reply.headers[header::LINK].to_str().unwrap().to_owned();
    assert!(next.contains("offset=1000"), "{next}");
    let rest = json_at(&ground, "/api/models/ada/m/tensors/main?limit=1000&offset=1000").await;
    assert_eq!((rest["rows"].as_array().unwrap().len(), &rest["total"]), (50, &json!(1050)));
    assert_eq!(rest["rows"][49]["name"], "t1049");
}

#[tokio::test]
async fn a_tensor_shows_its_values_and_where_it_lies() {
    let ground = llama().await;
    let page = ground.page("/ada/m/tensors/main?name=model.embed_tokens.weight").await;
    for part in ["40 × 20", "800 elements", "3.2 kB", "model.safetensors", "at byte", "SHA-256", "standard deviation"]
    {
        assert!(page.contains(part), "{part}\n{page}");
    }
    assert_eq!(page.matches("<rect").count() - page.matches("class=\"heat").count(), 48, "{page}");
    assert!(page.contains("A window of 16 × 16 of 40 × 20"), "{page}");
    let moved = ground.page("/ada/m/tensors/main?name=model.embed_tokens.weight&row=39&column=19").await;
    assert!(moved.contains("99.875") && moved.contains("← left") && !moved.contains("↓ down"), "{moved}");
    let layer = ground.page("/ada/m/tensors/main?name=model.layers.2.self_attn.q_proj.weight&stat=mean").await;
    assert!(layer.contains("model.layers.*.self_attn.q_proj.weight"), "{layer}");
    assert!(layer.contains("class=\"heat9\"") && layer.contains("class=\"here\""), "{layer}");
    assert!(layer.contains("All of its values are the same"), "{layer}");
    let nan = ground.page("/ada/m/tensors/main?name=lm_head.weight").await;
    assert!(nan.contains("40 of its values are not finite"), "{nan}");
    let twin = twin_of(&ground, &page).await;
    assert_eq!(
        (&twin["schema"], &twin["dtype"], &twin["shape"]),
        (&json!("weighthouse.tensor/1"), &json!("F32"), &json!([40, 20]))
    );
    assert_eq!((&twin["stats"]["max"], &twin["alsoIn"][0]["id"]), (&json!(99.875), &json!("ada/m")));
    assert!(ground.get(twin["npy"].as_str().unwrap().split_once("7070").unwrap().1).await.status.is_success());
    let more = json_at(&ground, "/api/models/ada/m/tensors/main?name=lm_head.weight&row=0&histogram=true").await;
    assert_eq!(more["window"]["values"][1][0], "NaN");
    assert_eq!(ground.get("/ada/m/tensors/main?name=nothing").await.status, StatusCode::NOT_FOUND);
    assert_eq!(ground.get("/api/models/ada/m/tensors/main?name=nothing").await.status, StatusCode::NOT_FOUND);
    assert_eq!(ground.get("/ada/m/tensors/main?part=other").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_tensor_is_sent_as_npy() {
    let ground = llama().await;
    for path in [
        "/ada/m/npy/main?name=model.embed_tokens.weight",
        "/api/models/ada/m/npy/main/model.safetensors?name=model.embed_tokens.weight",
    ] {
        let reply = ground.get(path).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
        assert_eq!(reply.headers[header::CONTENT_TYPE], "application/octet-stream");
        assert_eq!(
            reply.headers[header::CONTENT_DISPOSITION],
            "attachment; filename=\"model.embed_tokens.weight.npy\""
        );
        assert!(reply.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap().contains("sandbox"));
        assert_eq!(reply.headers[header::CONTENT_LENGTH], (128 + 3_200).to_string().as_str());
        assert!(reply.body.contains("NUMPY") && reply.body.contains("'shape': (40, 20)"));
    }
    assert_eq!(ground.get("/ada/m/npy/main?name=nothing").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_architecture_is_a_picture_and_a_table() {
    let ground = llama().await;
    let page = ground.page("/ada/m/architecture/main").await;
    for part in ["LlamaForCausalLM", "hidden size", "<svg class=\"diagram\"", "layers.0–3", "role-attention", "lm_head"]
    {
        assert!(page.contains(part), "{part}\n{page}");
    }
    let twin = twin_of(&ground, &page).await;
    assert_eq!((&twin["family"], &twin["sizes"]["hidden_size"]), (&json!("llama"), &json!(20)));
    assert_eq!(twin["parameters"]["total"], 2_520);
    assert!(twin["blocks"].as_array().unwrap().iter().any(|block| block["role"] == "head"));
}

#[tokio::test]
async fn hostile_names_are_spelled_out_and_lead_to_their_tensor() {
    let ground = ground().await;
    let names = [
        "<script>alert(1)</script>".to_owned(),
        "a\" onload=\"x".to_owned(),
        "turned\u{202e}gpj.exe".to_owned(),
        "control\u{1b}[31m\n\0".to_owned(),
        "../../etc/passwd".to_owned(),
        "..".to_owned(),
        ".".to_owned(),
        "a..b//c".to_owned(),
        "&amp;?name=x#y%41+z".to_owned(),
        "long".repeat(1_000),
        "deep.".repeat(800),
        String::new(),
    ];
    let tensors: Vec<_> = names.iter().map(|name| (name.clone(), vec![1], vec![1.0])).collect();
    ground.model("m", &[("model.safetensors", &weights(&tensors))]).await;
    ground.hub.work_off().await.unwrap();
    for path in ["/ada/m/tensors/main", "/ada/m/tensors/main?search=e", "/ada/m/architecture/main"] {
        let page = ground.page(path).await;
        assert!(!page.contains("<script>") && !page.contains('\u{202e}') && !page.contains('\u{1b}'), "{path}");
    }
    for name in &names {
        let encoded = percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC).to_string();
        let page = ground.page(&format!("/ada/m/tensors/main?name={encoded}")).await;
        assert!(!page.contains("<script>") && !page.contains('\u{202e}') && !page.contains('\u{1b}'), "{name:?}");
        let found = json_at(&ground, &format!("/api/models/ada/m/tensors/main?name={encoded}")).await;
        assert_eq!(found["name"].as_str(), Some(name.as_str()));
        let npy = ground.get(&format!("/ada/m/npy/main?name={encoded}")).await;
        assert_eq!(npy.status, StatusCode::OK, "{name:?}");
        let as_module = ground.get(&format!("/ada/m/tensors/main?module={encoded}")).await;
        assert_eq!(as_module.status, StatusCode::OK, "{name:?}");
    }
}

#[tokio::test]
async fn nothing_of_a_private_repository_is_told() {
    let ground = llama().await;
    ground.create(RepoKind::Model, "secret", true).await;
    ground.commit("secret", "Upload", &[("model.safetensors", &layered())]).await;
    ground.hub.work_off().await.unwrap();
    let inside =
        ["tensors/main", "tensors/main?name=lm_head.weight", "npy/main?name=lm_head.weight", "architecture/main"];
    for path in inside {
        for prefix in ["/ada/secret", "/api/models/ada/secret"] {
            let reply = ground.get(&format!("{prefix}/{path}")).await;
            assert!(matches!(reply.status.as_u16(), 401 | 404), "{prefix}/{path}: {}", reply.status);
            assert!(!reply.body.contains("embed_tokens") && !reply.body.contains("BF16"), "{}", reply.body);
        }
    }
    let address = "/ada/m/tensors/main?name=model.embed_tokens.weight";
    assert!(!ground.page(address).await.contains("secret"));
    assert!(!ground.get(&format!("/api/models{address}")).await.body.contains("secret"));
    let cookie = crate::server::session::set_cookie(Some(&ground.secret), "");
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let reply = ground.ask(address, &[(header::COOKIE, &cookie)]).await;
    assert!(reply.body.contains("/ada/secret/tensors/"), "{}", reply.body);
    let bearer = format!("Bearer {}", ground.secret);
    let reply = ground.ask(&format!("/api/models{address}"), &[(header::AUTHORIZATION, &bearer)]).await;
    assert!(reply.body.contains("ada/secret"), "{}", reply.body);
}

#[tokio::test]
async fn a_broken_file_is_said_to_be_broken() {
    let ground = ground().await;
    let mut broken = layered();
    broken.truncate(broken.len() - 1);
    ground.model("m", &[("good.safetensors", &layered()), ("sub/bad.safetensors", &broken), ("a.txt", b"text")]).await;
    let before = ground.page("/ada/m/tensors/main?name=lm_head.weight").await;
    assert!(before.contains("still being read"), "{before}");
    ground.hub.work_off().await.unwrap();
    let whole = ground.page("/ada/m/tensors/main").await;
    assert!(whole.contains("1 thing to know") && whole.contains("sub/bad.safetensors"), "{whole}");
    let alone = ground.page("/ada/m/tensors/main/sub/bad.safetensors").await;
    assert!(alone.contains("cannot be read as a checkpoint"), "{alone}");
    let text = ground.page("/ada/m/architecture/main/a.txt").await;
    assert!(text.contains("match no known format"), "{text}");
    assert_eq!(ground.get("/ada/m/tensors/main/nothing").await.status, StatusCode::NOT_FOUND);
    assert_eq!(ground.get("/api/models/ada/m/tensors/main/sub/bad.safetensors").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn models_are_found_by_architecture_and_size() {
    let ground = llama().await;
    ground.model("other", &[("model.safetensors", &weights(&[("a".to_owned(), vec![1], vec![1.0])]))]).await;
    ground.hub.work_off().await.unwrap();
    let ids = async |query: &str| -> Vec<String> {
        let found = json_at(&ground, &format!("/api/models?{query}")).await;
        found.as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids("filter=LlamaForCausalLM").await, ["ada/m"]);
    assert_eq!(ids("num_parameters=min:2K,max:1M").await, ["ada/m"]);
    assert_eq!(ids("num_parameters=max:10").await, ["ada/other"]);
    assert_eq!(ground.get("/api/models?num_parameters=big").await.status, StatusCode::BAD_REQUEST);
    let list = ground.page("/models?num_parameters=min%3A2K").await;
    assert!(
        list.contains("/ada/m\"") && !list.contains("/ada/other\"") && list.contains("value=\"min:2K\" selected"),
        "{list}"
    );
}

#[tokio::test]
async fn a_gguf_model_says_what_it_is() {
    let ground = ground().await;
    ground.model("m", &[("model.gguf", &gguf())]).await;
    ground.hub.work_off().await.unwrap();
    let info = json_at(&ground, "/api/models/ada/m?expand=gguf").await;
    let gguf = &info["gguf"];
    assert_eq!(
        (&gguf["architecture"], &gguf["context_length"], &gguf["total"]),
        (&json!("llama"), &json!(512), &json!(64))
    );
    assert_eq!(gguf["chat_template"], "{{ messages }}");
    assert!(gguf["totalFileSize"].as_u64().unwrap() > 68);
    let page = ground.page("/ada/m/tensors/main?name=token_embd.weight").await;
    assert!(page.contains("Q8_0") && page.contains("widened"), "{page}");
}

/// A GGUF file with one quantised tensor.
fn gguf() -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let mut file = [&b"GGUF"[..], &3u32.to_le_bytes(), &1u64.to_le_bytes(), &3u64.to_le_bytes()].concat();
    for (key, value) in [("general.architecture", "llama"), ("tokenizer.chat_template", "{{ messages }}")] {
        file.extend([text(key), 8u32.to_le_bytes().to_vec(), text(value)].concat());
    }
    file.extend([text("llama.context_length"), 4u32.to_le_bytes().to_vec(), 512u32.to_le_bytes().to_vec()].concat());
    file.extend(text("token_embd.weight"));
    file.extend(
        [&2u32.to_le_bytes()[..], &32u64.to_le_bytes(), &2u64.to_le_bytes(), &8u32.to_le_bytes(), &0u64.to_le_bytes()]
            .concat(),
    );
    file.resize(file.len().next_multiple_of(32), 0);
    for _ in 0..2 {
        // A scale of one, then 32 signed bytes.
        file.extend([0x00, 0x3c]);
        file.extend((0..32u8).map(|i| i.wrapping_sub(16)));
    }
    file
}
