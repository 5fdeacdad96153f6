//! A hub behind a line that breaks, stalls and loses answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use weighthouse_hub::client::Meter;
use weighthouse_hub::client::pull::{PullOptions, Target, pull};
use weighthouse_hub::client::push::push;
use weighthouse_testkit::noise;

use crate::world::{api, assert_same, model, repo, world};

/// What happens to a connection once it has carried some bytes.
#[derive(Clone, Copy)]
enum Fault {
    Cut,
    Stall,
}

/// A line to `hub`: the first connections, `faults` of them, carry `bytes` in all and then suffer the fault.
async fn line(hub: SocketAddr, fault: Fault, bytes: usize, faults: usize) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let suffered = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&suffered);
    tokio::spawn(async move {
        let mut left = faults;
        while let Ok((near, _)) = listener.accept().await {
            let bytes = if left > 0 { bytes } else { usize::MAX };
            left = left.saturating_sub(1);
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                let far = TcpStream::connect(hub).await.unwrap();
                let (near_in, near_out) = near.into_split();
                let (far_in, far_out) = far.into_split();
                let carried = Arc::new(AtomicUsize::new(0));
                let up = carry(near_in, far_out, Arc::clone(&carried), bytes);
                let down = carry(far_in, near_out, carried, bytes);
                let broke = tokio::select! { broke = up => broke, broke = down => broke };
                if broke {
                    count.fetch_add(1, Ordering::Relaxed);
                    if matches!(fault, Fault::Stall) {
                        std::future::pending::<()>().await;
                    }
                }
            });
        }
    });
    (base, suffered)
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    carried: Arc<AtomicUsize>,
    limit: usize,
) -> bool {
    let mut block = vec![0; 16 << 10];
    loop {
        match from.read(&mut block).await {
            Ok(0) | Err(_) => return false,
            Ok(len) => {
                if to.write_all(&block[..len]).await.is_err() {
                    return false;
                }
                if carried.fetch_add(len, Ordering::Relaxed) + len > limit {
                    return true;
                }
            }
        }
    }
}

async fn survives(fault: Fault) {
    let world = world().await;
    let hub: SocketAddr = world.hub.base.strip_prefix("http://").unwrap().parse().unwrap();
    let folder = model(6 << 20);
    let (base, suffered) = line(hub, fault, 1 << 20, 8).await;
    let bad = api(&base, Some(&world.token));
    push(&bad, folder.path(), &repo("ada/m"), &world.options(), &Meter::new()).await.unwrap();
    assert!(suffered.load(Ordering::Relaxed) > 0);

    let (base, suffered) = line(hub, fault, 1 << 20, 8).await;
    let bad = api(&base, Some(&world.token));
    let back = tempfile::tempdir().unwrap();
    let target = Target::Folder(back.path().to_owned());
    let pulled = pull(&bad, &repo("ada/m"), &target, &PullOptions::default(), &Meter::new()).await.unwrap();
    assert_same(back.path(), folder.path());
    assert!(suffered.load(Ordering::Relaxed) > 0);
    assert!(pulled.wire_bytes < pulled.bytes * 3 / 2, "what came before a break is kept: {pulled:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_connections_are_made_again() {
    survives(Fault::Cut).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_transfers_are_made_again() {
    survives(Fault::Stall).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_over_a_short_breath_goes_on_where_it_broke() {
    let world = world().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("big.bin"), noise(3, 24 << 20)).unwrap();
    world.push(folder.path(), "ada/m").await.unwrap();
    let hub: SocketAddr = world.hub.base.strip_prefix("http://").unwrap().parse().unwrap();
    // No connection ever carries the file, not even a tenth of it.
    let (base, suffered) = line(hub, Fault::Cut, 2 << 20, usize::MAX).await;
    let bad = api(&base, Some(&world.token));
    let back = tempfile::tempdir().unwrap();
    let target = Target::Folder(back.path().to_owned());
    let pulled = pull(&bad, &repo("ada/m"), &target, &PullOptions::default(), &Meter::new()).await.unwrap();
    assert_same(back.path(), folder.path());
    assert!(suffered.load(Ordering::Relaxed) >= 10);
    assert!(pulled.wire_bytes < pulled.bytes * 11 / 10, "{pulled:?}");
}
