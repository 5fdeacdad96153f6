//! scratch
use weighthouse_testkit::TestHub;
use weighthouse::account::*;
#[tokio::main]
async fn main() {
    let port: u16 = std::env::args().nth(1).unwrap().parse().unwrap();
    let hub = weighthouse::Hub::open(weighthouse::HubOptions::new(std::env::args().nth(2).unwrap())).await.unwrap();
    for (n, t) in [("alice", "hf_alicealicealicealicealicealicealiceali"), ("bob", "hf_bobbobbobbobbobbobbobbobbobbobbobbobbob")] {
        let _ = hub.add_user(NewAccount { name: n.into(), admin: n == "alice", ..Default::default() }).await;
        let _ = hub.add_token(n, NewToken { name: "t".into(), scope: weighthouse::Scope::Write, repos: None, lifetime_ms: None, value: Some(t.into()) }).await;
    }
    let metrics = std::sync::Arc::new(weighthouse_hub::server::telemetry::Metrics::new("x", 0));
    let service = weighthouse_hub::server::stack::stack(weighthouse_hub::server::app::App::new(hub.clone(), Default::default()).routes(metrics.clone()), metrics);
    let l = weighthouse_hub::server::listen::Listener::bind(([127,0,0,1], port).into()).await.unwrap();
    println!("{}", l.local_address());
    l.serve(service, Default::default(), std::future::pending()).await;
    let _ = TestHub::start;
}
