use super::*;

const SIDE: usize = 128;

/// A safetensors file with one tensor of numbers that are spread as weights are; a later step moves each of them a little.
fn weights(step: u32) -> Vec<u8> {
    let header = format!(r#"{{"w":{{"dtype":"F32","shape":[{SIDE},{SIDE}],"data_offsets":[0,{}]}}}}"#, SIDE * SIDE * 4);
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    let mut state = 1u32;
    for _ in 0..SIDE * SIDE {
        let mut sum = 0.0;
        for _ in 0..4 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            sum += (state >> 8) as f32 / (1 << 24) as f32 - 0.5;
        }
        file.extend((sum * 0.05 * (1.0 + step as f32 * (state >> 28) as f32 * 1e-6)).to_le_bytes());
    }
    file
}

#[tokio::test]
async fn the_account_of_a_repository_names_what_its_files_are_differences_from() {
    let ground = ground().await;
    let repack = async || {
        ground.hub.work_off().await.unwrap();
        while ground.hub.repack_once().await.unwrap() {}
    };
    ground.model("base", &[("model.safetensors", &weights(0))]).await;
    repack().await;
    let card = b"---\nbase_model: ada/base\n---\n";
    ground.model("tuned", &[("README.md", card), ("model.safetensors", &weights(1))]).await;
    repack().await;
    let page = ground.page("/ada/tuned/settings/storage").await;
    assert!(page.contains(r#"difference from model.safetensors of <a href="/ada/base">ada/base</a>, "#), "{page}");
    let card = page.lines().find(|line| line.contains(">README.md<")).unwrap();
    assert!(card.contains("<td>coded, "), "it shares a xorb with weights, and leans on nothing: {card}");
    let reply = ground.get("/api/models/ada/tuned/settings/storage").await;
    let json: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    let file = &json["largest"][0];
    assert_eq!([&file["by"], &file["baseRepo"], &file["basePath"]], ["delta", "ada/base", "model.safetensors"]);

    // The next version of a file leans on the one before.
    ground.commit("base", "Train", &[("model.safetensors", &weights(2))]).await;
    repack().await;
    let page = ground.page("/ada/base/settings/storage").await;
    assert!(page.contains("difference from an earlier model.safetensors, "), "{page}");
}
