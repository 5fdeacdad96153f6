//! The Xet store: nothing is believed, nothing leaks.

use axum::body::Body;
use serde_json::{Value, json};
use weighthouse::format::xet::hash::{self, XetHash};
use weighthouse::format::xet::shard::{Shard, ShardChunk, ShardFile, ShardXorb, Term};
use weighthouse::format::xet::xorb::{SchemeChoice, Xorb, XorbBuilder, XorbVerifier};
use weighthouse_testkit::noise;

use crate::site::{Answer, Site, lfs_file, sha256};

/// A file in one xorb, as a client would send it.
pub struct Upload {
    pub data: Vec<u8>,
    pub xorb: Xorb,
    pub shard: Shard,
}

pub fn upload(seed: u64) -> Upload {
    upload_of(noise(seed, 600_000))
}

fn upload_of(data: Vec<u8>) -> Upload {
    let mut builder = XorbBuilder::new(SchemeChoice::Auto);
    let mut tree = hash::HashTree::new();
    for chunk in data.chunks(60_000) {
        tree.push(builder.push(chunk).unwrap(), chunk.len() as u64);
    }
    let xorb = builder.finish().unwrap();
    let listing = &xorb.listing;
    let end = listing.chunks.len() as u32;
    let mut offset = 0;
    let chunks = listing.chunks.iter().map(|chunk| {
        let listed = ShardChunk { hash: chunk.hash, offset, raw_len: chunk.raw_len, dedup_candidate: false };
        offset += chunk.raw_len;
        listed
    });
    let mut digest = [0; 32];
    hex::decode_to_slice(sha256(&data), &mut digest).unwrap();
    let file = ShardFile {
        file_hash: tree.file_hash(),
        terms: vec![Term { xorb: listing.hash, unpacked_bytes: listing.raw_len, start: 0, end }],
        range_hashes: Some(vec![listing.range_hash(0..end).unwrap()]),
        sha256: Some(digest),
    };
    let listed = ShardXorb {
        hash: listing.hash,
        raw_bytes: listing.raw_len,
        stored_bytes: listing.body_len,
        chunks: chunks.collect(),
    };
    let shard = Shard { files: vec![file], xorbs: vec![listed] };
    Upload { data, xorb, shard }
}

pub async fn token(site: &Site, user: &str, repo: &str, scope: &str) -> String {
    let answer = site.get(user, &format!("/api/models/{repo}/xet-{scope}-token/main")).await.ok();
    let json = answer.json();
    assert_eq!(answer.header("x-xet-access-token"), json["accessToken"]);
    assert_eq!(answer.header("x-xet-cas-url"), "http://localhost/xet");
    json["accessToken"].as_str().unwrap().to_owned()
}

pub async fn send_xorb(site: &Site, token: &str, name: &XetHash, body: Vec<u8>) -> Answer {
    site.ask(token, "POST", &format!("/xet/v1/xorbs/default/{name}"), body).await
}

pub async fn send_shard(site: &Site, token: &str, shard: &Shard) -> Answer {
    site.ask(token, "POST", "/xet/v1/shards", shard.to_upload().unwrap()).await
}

#[tokio::test]
async fn a_file_sent_by_xet_comes_back_by_both_roads() {
    let site = Site::new().await;
    site.repo("m", false).await;
    let up = upload(1);
    let write = token(&site, &site.ada, "ada/m", "write").await;
    let hash = up.xorb.listing.hash;
    let first = send_xorb(&site, &write, &hash, up.xorb.body.clone()).await.ok().json();
    let second = send_xorb(&site, &write, &hash, up.xorb.body.clone()).await.ok().json();
    assert_eq!((first["was_inserted"].as_bool(), second["was_inserted"].as_bool()), (Some(true), Some(false)));
    let events = site.ask(&write, "POST", "/xet/v2/shards", up.shard.to_upload().unwrap()).await.ok();
    let last: Value =
        serde_json::from_slice(events.body.trim_ascii_end().rsplit(|b| *b == b'\n').next().unwrap()).unwrap();
    assert_eq!(last["type"], "result", "{events:?}");
    site.commit("m", &[lfs_file("w.bin", &sha256(&up.data), up.data.len())]).await.ok();
    let head = site.ask("", "HEAD", "/ada/m/resolve/main/w.bin", Body::empty()).await.ok();
    let file = up.shard.files[0].file_hash.to_string();
    assert_eq!(head.header("x-xet-hash"), file);
    assert!(site.get("", "/ada/m/resolve/main/w.bin").await.ok().body == up.data);

    let read = token(&site, "", "ada/m", "read").await;
    for version in ["v1", "v2"] {
        let path = format!("/xet/{version}/reconstructions/{file}");
        let plan = site.ask_with(&read, "GET", &path, &[("range", "bytes=100000-200000")], "").await.ok().json();
        assert_eq!(plan["offset_into_first_range"], 40_000);
        assert_eq!(
            plan["terms"],
            json!([{ "hash": hash.to_string(), "unpacked_length": 180_000, "range": { "start": 1, "end": 4 } }])
        );
        let past = site.ask_with(&read, "GET", &path, &[("range", "bytes=600000-")], "").await;
        assert_eq!(past.status, 416);
        let info = &plan[if version == "v1" { "fetch_info" } else { "xorbs" }][hash.to_string()][0];
        let range = if version == "v1" { &info["url_range"] } else { &info["ranges"][0]["bytes"] };
        let (start, end) = (range["start"].as_u64().unwrap(), range["end"].as_u64().unwrap());
        let url = info["url"].as_str().unwrap();
        let wanted = format!("bytes={start}-{end}");
        let bytes = site.ask_with("", "GET", url, &[("range", &wanted)], "").await;
        assert_eq!(bytes.status, 206);
        assert!(bytes.body == up.xorb.body[start as usize..=end as usize]);
        for other in [format!("bytes=0-{end}"), format!("bytes={start}-{}", end + 1)] {
            assert_eq!(site.ask_with("", "GET", url, &[("range", &other)], "").await.status, 403, "{other}");
        }
        for forged in [
            url.replace("sig=", "sig=A"),
            url.replace("exp=", "exp=1"),
            url.replace(&hash.to_string(), &"0".repeat(64)),
        ] {
            assert_eq!(site.ask_with("", "GET", &forged, &[("range", &wanted)], "").await.status, 403, "{forged}");
        }
    }
}

#[tokio::test]
async fn an_address_holds_when_the_bytes_have_moved_and_so_does_the_next_one() {
    let site = Site::new().await;
    site.repo("m", false).await;
    // Half precision: the upper bytes repeat, so that coding pays.
    let halves = noise(9, 600_000).into_iter().enumerate();
    let up = upload_of(halves.map(|(i, byte)| if i % 2 == 1 { 0x3c + (byte & 1) } else { byte }).collect());
    let write = token(&site, &site.ada, "ada/m", "write").await;
    send_xorb(&site, &write, &up.xorb.listing.hash, up.xorb.body.clone()).await.ok();
    send_shard(&site, &write, &up.shard).await.ok();
    site.commit("m", &[lfs_file("w.safetensors", &sha256(&up.data), up.data.len())]).await.ok();
    let read = token(&site, &site.ada, "ada/m", "read").await;
    let plan = format!("/xet/v1/reconstructions/{}", up.shard.files[0].file_hash);
    let fetch = async || {
        let json = site.get(&read, &plan).await.ok().json();
        let info = json["fetch_info"][up.xorb.listing.hash.to_string()][0].clone();
        let range = &info["url_range"];
        (
            info["url"].as_str().unwrap().replace("http://localhost", ""),
            format!("bytes={}-{}", range["start"], range["end"]),
        )
    };
    let get = async |(url, range): &(String, String)| {
        let answer = site.ask_with("", "GET", url, &[("range", range)], Body::empty()).await.ok();
        let mut verifier = XorbVerifier::new();
        verifier.push(&answer.body).unwrap();
        verifier.finish(&up.xorb.listing.hash).unwrap();
        answer.body
    };
    let before = fetch().await;
    assert_eq!(get(&before).await, up.xorb.body);
    site.hub.hub.work_off().await.unwrap();
    while site.hub.hub.repack_once().await.unwrap() {}
    let after = fetch().await;
    assert_ne!(before, after, "nothing was coded");
    assert_eq!(get(&before).await, up.xorb.body, "what was handed out before holds");
    get(&after).await;
    assert_eq!(site.get("", "/ada/m/resolve/main/w.safetensors").await.ok().body, up.data);
}

#[tokio::test]
async fn a_xorb_that_is_not_what_it_is_called_is_refused() {
    let site = Site::new().await;
    site.repo("m", false).await;
    let up = upload(2);
    let write = token(&site, &site.ada, "ada/m", "write").await;
    let (hash, body) = (up.xorb.listing.hash, &up.xorb.body);
    let mut flipped = body.clone();
    flipped[100_000] ^= 1;
    // A header that promises 128 KiB from a handful of LZ4 bytes.
    let bomb = vec![
        0, 20, 0, 0, 1, 0, 0, 2, 4, 34, 77, 24, 96, 64, 130, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
        255, 255,
    ];
    for wrong in [
        flipped,
        body[..body.len() - 1].to_vec(),
        [body.clone(), vec![0; 9]].concat(),
        bomb,
        Vec::new(),
        vec![0xff; 4_000],
    ] {
        let answer = send_xorb(&site, &write, &hash, wrong).await;
        assert_eq!(answer.status, 400, "{answer:?}");
    }
    assert_eq!(send_xorb(&site, &write, &XetHash::ZERO, body.clone()).await.status, 400);
    assert_eq!(site.ask(&write, "POST", "/xet/v1/xorbs/default/xyz", body.clone()).await.status, 400);
    let many: Vec<u8> = std::iter::repeat_n([0, 1, 0, 0, 0, 1, 0, 0, 7], 8_193).flatten().collect();
    assert_eq!(send_xorb(&site, &write, &hash, many).await.status.as_u16() / 100, 4);
    let read = token(&site, &site.ada, "ada/m", "read").await;
    assert_eq!(send_xorb(&site, &read, &hash, body.clone()).await.status, 403);
    assert_eq!(send_xorb(&site, "", &hash, body.clone()).await.status, 401);
    assert_eq!(send_xorb(&site, &site.ada, &hash, body.clone()).await.status, 401, "a hub token is no Xet token");
    assert_eq!(site.hub.hub.stored_bytes().await.unwrap().0, 1, "only .gitattributes is stored");
    site.still_works().await;
}

#[tokio::test]
async fn a_shard_that_lies_is_refused() {
    let site = Site::new().await;
    site.repo("m", false).await;
    let up = upload(3);
    let write = token(&site, &site.ada, "ada/m", "write").await;
    assert_eq!(send_shard(&site, &write, &up.shard).await.status, 400, "its xorb was never sent");
    send_xorb(&site, &write, &up.xorb.listing.hash, up.xorb.body.clone()).await.ok();
    type Lie = (&'static str, fn(&mut Shard));
    let lies: [Lie; 9] = [
        ("file hash", |s| s.files[0].file_hash = XetHash::ZERO),
        ("sha256", |s| s.files[0].sha256 = Some([1; 32])),
        ("range hash", |s| s.files[0].range_hashes = Some(vec![XetHash::ZERO])),
        ("length", |s| s.files[0].terms[0].unpacked_bytes += 1),
        ("end", |s| s.files[0].terms[0].end += 1),
        ("start", |s| s.files[0].terms[0].start = 1),
        ("empty term", |s| s.files[0].terms[0].end = 0),
        ("xorb", |s| s.files[0].terms[0].xorb = XetHash::ZERO),
        ("listing", |s| s.xorbs[0].chunks[0].hash = XetHash::ZERO),
    ];
    for (what, lie) in lies {
        let mut shard = up.shard.clone();
        lie(&mut shard);
        let answer = send_shard(&site, &write, &shard).await;
        assert!(matches!(answer.status.as_u16(), 400 | 422), "{what}: {answer:?}");
    }
    let bytes = up.shard.to_upload().unwrap();
    for cut in [0, 10, 48, 100, bytes.len() - 1] {
        let answer = site.ask(&write, "POST", "/xet/v1/shards", bytes[..cut].to_vec()).await;
        assert_eq!(answer.status, 400, "cut at {cut}");
    }
    let commit = site.commit("m", &[lfs_file("w.bin", &sha256(&up.data), up.data.len())]).await;
    assert_eq!(commit.status, 400, "no lie made the file known");
    send_shard(&site, &write, &up.shard).await.ok();
    site.commit("m", &[lfs_file("w.bin", &sha256(&up.data), up.data.len())]).await.ok();
    site.still_works().await;
}

#[tokio::test]
async fn chunks_of_a_private_repository_stay_unknown_to_others() {
    let site = Site::new().await;
    site.repo("hidden", true).await;
    let up = upload(4);
    let write = token(&site, &site.ada, "ada/hidden", "write").await;
    send_xorb(&site, &write, &up.xorb.listing.hash, up.xorb.body.clone()).await.ok();
    send_shard(&site, &write, &up.shard).await.ok();
    site.post(&site.bob, "/api/repos/create", &json!({ "name": "probe" })).await.ok();
    let bobs = token(&site, &site.bob, "bob/probe", "write").await;
    let chunk = up.xorb.listing.chunks[0].hash;
    let file = up.shard.files[0].file_hash;
    for path in [format!("/xet/v1/chunks/default/{chunk}"), format!("/xet/v1/reconstructions/{file}")] {
        assert_eq!(site.get(&bobs, &path).await.status, 404, "{path}");
        assert_eq!(site.get(&write, &path).await.status, 200, "{path}");
    }
    let named = send_shard(&site, &bobs, &up.shard).await;
    assert_eq!(named.status, 400, "a shard may not name chunks its sender never had");
    let grant = json!({ "length": up.xorb.body.len(), "checksum": { "algo": "crc64nvme", "value": "1" } });
    let grants = format!("/xet/v1/xorb-grants/default/{}", up.xorb.listing.hash);
    assert_eq!(site.post(&bobs, &grants, &grant).await.status, 201, "possession is not confirmed");
    assert_eq!(site.post(&write, &grants, &grant).await.status, 200);
    site.ask(&site.ada, "PUT", "/api/models/ada/hidden/settings", "{\"visibility\":\"public\"}").await.ok();
    let answer = site.get(&bobs, &format!("/xet/v1/chunks/default/{chunk}")).await.ok();
    assert!(!answer.body.windows(32).any(|w| w == chunk.as_bytes()), "chunk hashes in the answer are keyed");
    send_shard(&site, &bobs, &up.shard).await.ok();
}

#[tokio::test]
async fn a_granted_address_takes_the_xorb_it_was_made_for() {
    let site = Site::new().await;
    site.repo("m", false).await;
    let up = upload(5);
    let write = token(&site, &site.ada, "ada/m", "write").await;
    let xorb = up.xorb.listing.hash;
    let body = json!({ "length": up.xorb.body.len(), "checksum": { "algo": "crc64nvme", "value": "1" } });
    let grant = site.post(&write, &format!("/xet/v1/xorb-grants/default/{xorb}"), &body).await;
    assert_eq!(grant.status, 201);
    let grant = grant.json();
    let url = grant["url"].as_str().unwrap();
    let commit = format!("/xet/v1/xorb-commits/default/{xorb}/grant/{}", grant["id"].as_str().unwrap());
    assert_eq!(site.ask(&write, "POST", &commit, "").await.status, 404, "nothing was sent yet");
    assert_eq!(site.ask("", "PUT", url, vec![0; 100]).await.status, 400);
    assert_eq!(site.ask("", "PUT", &url.replace("sig=", "sig=A"), up.xorb.body.clone()).await.status, 403);
    site.ask("", "PUT", url, up.xorb.body.clone()).await.ok();
    site.ask(&write, "POST", &commit, "").await.ok();
    send_shard(&site, &write, &up.shard).await.ok();
}

#[tokio::test]
async fn reports_of_clients_are_taken_and_dropped() {
    let site = Site::new().await;
    for path in ["/xet/v1/telemetry", "/v1/telemetry"] {
        site.ask("", "POST", path, "{\"event\":\"upload\"}").await.ok();
        site.ask("not a token", "POST", path, vec![b'x'; 1 << 20]).await.ok();
    }
}
