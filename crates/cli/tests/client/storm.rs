//! SIGKILL at random moments, while files come in by every road.
//!
//! After each round everything that was acknowledged is there, whole, and nothing is left of the rest.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, RwLock};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use weighthouse::Sha256;
use weighthouse_testkit::noise;

use crate::roads::{self, Acknowledged};
use crate::wire::Wire;
use crate::world::{World, count};

#[test]
fn acknowledged_files_outlive_a_few_kills() {
    storm(4);
}

#[test]
#[ignore = "takes minutes"]
fn soak_acknowledged_files_outlive_a_hundred_kills() {
    storm(100);
}

/// One uploader: the world, its own number, and which upload it is at.
struct Turn<'a> {
    world: &'a World,
    hub: &'a Wire,
    actor: usize,
    /// Never the same twice in a storm.
    seed: u64,
}

/// Uploads one file; an error when the line broke.
type Road = fn(&Turn) -> io::Result<Option<Acknowledged>>;

/// Two share a repository, so that their commits meet.
const ROADS: [(&str, Road); 7] =
    [("plain", plain), ("plain", plain), ("lfs", lfs), ("lfs", lfs), ("xet", xet), ("parts", parts), ("push", push)];

const SHARED: &str = "admin/shared";

impl Turn<'_> {
    fn path(&self, suffix: &str) -> String {
        format!("{}/{}.{suffix}", self.actor, self.seed)
    }

    /// Between half a megabyte and six.
    fn data(&self) -> Vec<u8> {
        noise(self.seed, 500_000 + self.seed as usize * 7_919 % 5_500_000)
    }
}

fn plain(turn: &Turn) -> io::Result<Option<Acknowledged>> {
    let text = format!("{:?}", noise(turn.seed, 20_000));
    roads::plain(turn.hub, SHARED, &turn.path("txt"), &text).map(Some)
}

fn lfs(turn: &Turn) -> io::Result<Option<Acknowledged>> {
    roads::lfs(turn.hub, SHARED, &turn.path("bin"), &turn.data()).map(Some)
}

fn xet(turn: &Turn) -> io::Result<Option<Acknowledged>> {
    roads::xet(turn.hub, "admin/xet", &turn.path("bin"), &turn.data()).map(Some)
}

/// An upload in parts that is never finished.
fn parts(turn: &Turn) -> io::Result<Option<Acknowledged>> {
    roads::last_part(turn.hub, SHARED, &turn.data())?.ok();
    Ok(None)
}

/// Our own client, which waits for the hub to come back.
fn push(turn: &Turn) -> io::Result<Option<Acknowledged>> {
    let (folder, path, data) = (turn.world.path("pushed"), turn.path("bin"), turn.data());
    std::fs::create_dir_all(folder.join(&path).parent().unwrap())?;
    std::fs::write(folder.join(&path), &data)?;
    let pushed = turn.world.json(&turn.world.url(), &["push", folder.to_str().unwrap(), "admin/pushed"]);
    std::fs::remove_dir_all(&folder)?;
    let commit = pushed["commit"].as_str().unwrap().to_owned();
    Ok(Some(Acknowledged { repo: "admin/pushed".to_owned(), commit, path, sha256: Sha256::of(&data) }))
}

/// What the uploaders and the one who kills share.
struct Storm {
    world: World,
    hub: Wire,
    over: AtomicBool,
    /// Held shared by each upload, and alone by the examination after a round.
    quiet: RwLock<()>,
    begun: AtomicUsize,
    broken: AtomicUsize,
    acknowledged: Mutex<Vec<Acknowledged>>,
}

/// Ends the uploaders, whatever ends the round.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Storm {
    fn new() -> Self {
        // Uploads in parts that nobody finishes expire after a second.
        let world = World::with(&["--repack", "off"], &[("WH_UPLOAD_LIFETIME_S", "1")]);
        let hub = world.wire();
        for repo in [SHARED, "admin/xet", "admin/pushed"] {
            roads::create(&hub, repo);
        }
        Self {
            world,
            hub,
            over: AtomicBool::new(false),
            quiet: RwLock::new(()),
            begun: AtomicUsize::new(0),
            broken: AtomicUsize::new(0),
            acknowledged: Mutex::new(Vec::new()),
        }
    }

    /// Uploads by one road until the storm is over.
    fn upload(&self, actor: usize, road: Road) {
        let _over = Over(&self.over);
        while !self.over.load(Ordering::SeqCst) {
            let _loud = self.quiet.read().unwrap();
            let seed = self.begun.fetch_add(1, Ordering::SeqCst) as u64 + 1;
            match road(&Turn { world: &self.world, hub: &self.hub, actor, seed }) {
                Ok(file) => self.acknowledged.lock().unwrap().extend(file),
                Err(_) => {
                    self.broken.fetch_add(1, Ordering::SeqCst);
                    thread::sleep(Duration::from_millis(10));
                }
            }
        }
    }

    /// Kills the hub at a random moment, starts it again, and examines what it has.
    fn round(&self, dice: &mut Dice, examined: &mut usize) {
        thread::sleep(Duration::from_millis(dice.roll(30..1_200)));
        self.world.kill_hub();
        self.world.start_hub();
        let _quiet = self.quiet.write().unwrap();
        assert!(!self.over.load(Ordering::SeqCst), "an upload was refused");
        let files = self.acknowledged.lock().unwrap();
        files[*examined..].iter().for_each(|file| file.check(&self.hub));
        *examined = files.len();
        self.world.assert_tidy();
    }
}

fn storm(rounds: usize) {
    let (storm, mut dice, mut examined) = (Storm::new(), Dice::new(), 0);
    thread::scope(|scope| {
        for (actor, (_, road)) in ROADS.iter().enumerate() {
            let storm = &storm;
            scope.spawn(move || storm.upload(actor, *road));
        }
        let _over = Over(&storm.over);
        (0..rounds).for_each(|_| storm.round(&mut dice, &mut examined));
    });
    let files = storm.acknowledged.into_inner().unwrap();
    let (done, broken) = (files.len(), storm.broken.into_inner());
    println!("{rounds} kills: {done} files acknowledged, {broken} uploads broken off; dice {}", dice.seed);
    assert!(done >= 2 * rounds && broken >= rounds / 2, "{done} acknowledged, {broken} broken off: hardly a storm");
    for (actor, (road, _)) in ROADS.iter().enumerate().filter(|(_, (road, _))| *road != "parts") {
        let own = |file: &Acknowledged| file.path.starts_with(&format!("{actor}/"));
        assert!(files.iter().any(own), "nothing was acknowledged by `{road}`");
    }
    files.iter().for_each(|file| file.check(&storm.hub));
    thread::sleep(Duration::from_millis(1_100));
    let world = storm.world;
    world.kill_hub();
    world.start_hub();
    world.assert_tidy();
    assert_eq!(count(&world.path("data/blobs/uploads"), ""), 0, "uploads in parts expire whole");
    assert_eq!(world.count_rows("packs WHERE sealed = 0"), 0);
    assert_eq!(world.count_rows("uploads"), 0);
}

/// Randomness that can be thrown again.
struct Dice {
    seed: u64,
    thrown: u64,
}

impl Dice {
    fn new() -> Self {
        let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        Self { seed, thrown: 0 }
    }

    fn roll(&mut self, range: std::ops::Range<u64>) -> u64 {
        self.thrown += 1;
        let bytes = noise(self.seed ^ self.thrown << 32, 64);
        let number = u64::from_le_bytes(*bytes.last_chunk().unwrap());
        range.start + number % (range.end - range.start)
    }
}
