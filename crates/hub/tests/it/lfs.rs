//! Git LFS: only what was announced gets in, and only with a valid address.

use std::time::Duration;

use serde_json::json;
use weighthouse_hub::server::app::ServerOptions;
use weighthouse_testkit::noise;

use crate::site::{Site, lfs_file, sha256};

#[tokio::test]
async fn wrong_bytes_are_refused_and_leave_nothing() {
    let site = Site::new().await;
    site.repo("m", false).await;
    let data = noise(1, 500_000);
    let answer = site.batch(&site.ada, "m", &sha256(&data), data.len(), &["basic"]).await;
    let href = answer["objects"][0]["actions"]["upload"]["href"].as_str().unwrap().to_owned();
    let mut other = data.clone();
    other[250_000] ^= 1;
    for body in [other, data[..400_000].to_vec(), [data.clone(), vec![0]].concat(), Vec::new()] {
        let answer = site.ask("", "PUT", &href, body).await;
        assert_eq!(answer.status, 422, "{answer:?}");
    }
    assert_eq!(site.hub.hub.stored_bytes().await.unwrap().0, 1, "only .gitattributes is stored");
    let commit = site.commit("m", &[lfs_file("w.bin", &sha256(&data), data.len())]).await;
    assert_eq!(commit.status, 400);
    site.ask("", "PUT", &href, data.clone()).await.ok();
    let wrong_size = site.commit("m", &[lfs_file("w.bin", &sha256(&data), 7)]).await;
    assert_eq!(wrong_size.status, 422, "{wrong_size:?}");
    site.commit("m", &[lfs_file("w.bin", &sha256(&data), data.len())]).await.ok();
    let verify = "/ada/m.git/info/lfs/verify";
    site.post(&site.ada, verify, &json!({ "oid": sha256(&data), "size": data.len() })).await.ok();
    assert_eq!(site.post(&site.ada, verify, &json!({ "oid": sha256(&data), "size": 1 })).await.status, 422);
    assert_eq!(site.post(&site.ada, verify, &json!({ "oid": sha256(b"?"), "size": 1 })).await.status, 404);
}

#[tokio::test]
async fn altered_and_expired_addresses_are_refused() {
    let site = Site::new().await;
    site.repo("m", false).await;
    let data = noise(2, 1_000);
    let upload = async |site: &Site| {
        let answer = site.batch(&site.ada, "m", &sha256(&data), data.len(), &["basic"]).await;
        answer["objects"][0]["actions"]["upload"]["href"].as_str().unwrap().to_owned()
    };
    let href = upload(&site).await;
    let (address, query) = href.split_once('?').unwrap();
    for forged in [
        address.to_owned(),
        format!("{address}?exp=99999999999&sig=AAAA"),
        href.replace("/1000?", "/1001?"),
        format!("{address}?{}", query.replace("exp=", "exp=9")),
        format!("{href}x"),
    ] {
        assert_eq!(site.ask("", "PUT", &forged, data.clone()).await.status, 403, "{forged}");
    }
    let mut options = ServerOptions::default();
    options.signed_url_lifetime = Duration::ZERO;
    let late = Site::with(options).await;
    late.repo("m", false).await;
    let href = upload(&late).await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(late.ask("", "PUT", &href, data.clone()).await.status, 403);
}

#[tokio::test]
async fn parts_must_all_be_there_and_be_right() {
    let site = Site::new().await;
    site.repo("m", false).await;
    // Large enough for parts; mostly zeros, so that the test stays quick.
    let mut data = vec![0; (256 << 20) + 5];
    data[..3_000_000].copy_from_slice(&noise(3, 3_000_000));
    let oid = sha256(&data);
    let answer = site.batch(&site.ada, "m", &oid, data.len(), &["basic", "multipart"]).await;
    assert_eq!(answer["transfer"], "multipart");
    let action = &answer["objects"][0]["actions"]["upload"];
    let part_size: usize = action["header"]["chunk_size"].as_str().unwrap().parse().unwrap();
    let pieces: Vec<&[u8]> = data.chunks(part_size).collect();
    assert_eq!(action["header"].as_object().unwrap().len(), pieces.len() + 1);
    let part = |n: usize| action["header"][format!("{n:05}")].as_str().unwrap().to_owned();
    let href = action["href"].as_str().unwrap();
    assert_eq!(site.ask("", "PUT", &part(1), vec![1; 7]).await.status, 422, "a part of the wrong length");
    let mut tags = Vec::new();
    for (i, piece) in pieces.iter().enumerate().take(pieces.len() - 1) {
        let put = site.ask("", "PUT", &part(i + 1), piece.to_vec()).await.ok();
        tags.push(json!({ "partNumber": i + 1, "etag": put.header("etag") }));
    }
    let complete = |tags: &[serde_json::Value]| json!({ "oid": oid, "parts": tags });
    assert_eq!(site.post("", href, &complete(&tags)).await.status, 422, "a part is missing");
    let put = site.ask("", "PUT", &part(pieces.len()), vec![9; 5]).await.ok();
    tags.push(json!({ "partNumber": pieces.len(), "etag": put.header("etag") }));
    assert_eq!(site.post("", href, &complete(&tags)).await.status, 422, "the whole has another digest");
    site.ask("", "PUT", &part(pieces.len()), vec![0; 5]).await.ok();
    site.post("", href, &complete(&tags)).await.ok();
    assert_eq!(site.post("", href, &complete(&tags)).await.status, 404, "it is over");
    site.commit("m", &[lfs_file("w.bin", &oid, data.len())]).await.ok();
    let answer = site.ask_with("", "GET", "/ada/m/resolve/main/w.bin", &[("range", "bytes=2999990-3000009")], "").await;
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (206, &data[2_999_990..3_000_010]));
}

#[tokio::test]
async fn ranges_are_exact_and_those_outside_are_refused() {
    let site = Site::new().await;
    site.repo("m", false).await;
    let data = noise(4, 300_000);
    let line = site.upload("m", "w.bin", &data).await;
    site.commit("m", &[line]).await.ok();
    let path = "/ada/m/resolve/main/w.bin";
    for (range, expected) in [
        ("bytes=0-0", &data[..1]),
        ("bytes=299999-", &data[299_999..]),
        ("bytes=-10", &data[299_990..]),
        ("bytes=65530-140000", &data[65_530..=140_000]),
        ("bytes=1-999999999", &data[1..]),
    ] {
        let answer = site.ask_with("", "GET", path, &[("range", range)], "").await;
        assert_eq!(answer.status, 206, "{range}");
        assert!(answer.body == expected, "{range}");
        assert_eq!(answer.header("content-length"), expected.len().to_string());
    }
    for range in ["bytes=300000-", "bytes=999999999999999999999-", "bytes=-0"] {
        let answer = site.ask_with("", "GET", path, &[("range", range)], "").await;
        assert_eq!((answer.status.as_u16(), answer.header("content-range")), (416, "bytes */300000"), "{range}");
    }
    let whole = site.get("", path).await.ok();
    let etag = whole.header("etag").to_owned();
    assert_eq!(etag, format!("\"{}\"", sha256(&data)));
    let same = site.ask_with("", "GET", path, &[("if-none-match", &etag)], "").await;
    assert_eq!((same.status.as_u16(), same.body.len()), (304, 0));
}
