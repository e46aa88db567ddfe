//! A run from its beginning to its end.

use crate::chance::Chance;
use crate::container::noise;
use crate::faults::Trouble;
use crate::node::{Node, PATIENCE, lock};
use crate::plan::{IMAGES, Kinds, Life, Mishap};
use crate::plugin::Guest;
use crate::rest::Rests;
use crate::watch::{self, Seen};
use crate::{pod, report};
use e2e::baseline::Snapshot;
use e2e::error::{Chain, Error};
use e2e::image::{self, Entry, Image, Layer};
use e2e::network::{Network, bridge};
use e2e::runtime::{Kind, Options};
use e2e::world::World;
use e2e::{breakage, evidence, tools};
use serde_json::json;
use std::fs;
use std::future::Future;
use std::path::Path;
use std::sync::atomic::AtomicI32;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::task::JoinHandle;

/// How many pods live at a time, beside the one that nobody touches.
const LANES: u64 = 5;
/// How long leases of a plugin that was broken may stay.
pub(crate) const SETTLED: Duration = Duration::from_secs(90);

/// What is to be played.
pub(crate) struct Run {
    pub(crate) name: &'static str,
    pub(crate) kinds: Kinds,
    pub(crate) lasts: Duration,
    pub(crate) kills: u64,
    pub(crate) pods: u64,
}

/// What decides where nobody says how long it is to be: there a run has to be one that was seen before.
const USUAL: u64 = 1128;

fn seed() -> u64 {
    let lengths = ["CORTEN_SOAK_MINUTES", "CORTEN_SOAK_KILLS", "CORTEN_SOAK_PODS"];
    let is_usual = lengths.iter().all(|length| crate::setting::<f64>(length).is_none());
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs());
    crate::setting("CORTEN_SOAK_SEED").unwrap_or_else(|| if is_usual { USUAL } else { now() })
}

/// Plays it.
pub(crate) fn play(run: &Run) {
    if Kind::from_environment() == Kind::Containerd {
        return need::skip(need::Need::Corten, "Corten's own promise");
    }
    let Some(mut world) = world(run).unwrap() else { return };
    let baseline = world.baseline().unwrap().without("process").without("fd");
    let node = Arc::new(Node::new(&world, seed()));
    println!("{}: seed {}", run.name, node.seed);
    let seen = Arc::new(Seen::default());
    let begin = Instant::now();
    let outcome = through(run, &mut world, &node, &seen, &baseline);
    let (rest, outcome) = match outcome {
        Ok((told, flat)) => {
            let judged = flat.and_then(|()| report::slopes_are_flat(&seen, begin.elapsed()));
            (told, judged.and_then(|()| report::others_are_as_fast(&node, &seen)))
        }
        Err(error) => (Vec::new(), Err(error)),
    };
    let table = report::table(&node, &seen, begin.elapsed(), &rest);
    println!("{table}");
    let directory = tools::repository().join("target/nextest");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join(format!("{}.txt", run.name)), format!("{}: {table}\n", run.name)).unwrap();
    let Err(error) = outcome else { return };
    let told = format!("{}: seed {}: {}\n", run.name, node.seed, Chain(&error));
    match evidence::save(&world, &format!("{}-{}", run.name, node.seed), &format!("{told}{}", node.story())) {
        Ok(directory) => println!("everything that tells of it: {}", directory.display()),
        Err(error) => println!("not all that tells of it could be saved: {}", Chain(&error)),
    }
    panic!("{told}");
}

/// A world whose bridge is a plugin that can be broken, on a disk that can be filled, with images.
fn world(run: &Run) -> Result<Option<World>, Error> {
    let programs = if run.kinds == Kinds::Recoveries { tools::failpoints() } else { tools::dist() };
    let Some(mut world) = World::with(|options| Options { programs, ..options })? else { return Ok(None) };
    let plugins = breakage::plugins(&world)?;
    let list = bridge("1.0.0", "cte0", "10.88.0.0/16", world.isolation.root());
    Network::Executed { list, plugins }.write(&world.daemon.place().cni)?;
    breakage::put_on_small_disk(&mut world, "400m", 60_000)?;
    for number in 0..IMAGES {
        let mut image: Image = image::busybox()?;
        image.layers.push(Layer::default().with("noise", 0o644, Entry::File(noise(number))));
        for lane in 0..LANES {
            // Layers are shared, the image is not: who removes it removes it with all of its names.
            image.config["Labels"] = json!({"lane": lane.to_string()});
            world.registry.push(&format!("soak-{lane}-{number}"), "1", &image)?;
        }
    }
    Ok(Some(world))
}

/// The first breach that anybody has found, which ends everything.
#[derive(Default)]
struct Breach(Mutex<Option<Error>>);

impl Breach {
    fn of(&self, node: &Node, outcome: Result<(), Error>) {
        if let Err(error) = outcome {
            node.note(&format!("BREACH: {}", Chain(&error)));
            lock(&self.0).get_or_insert(error);
            node.end();
        }
    }
}

/// What is told of a run that no breach has ended, and whether the node at rest was the same all the time.
type Outcome = (Vec<String>, Result<(), Error>);

fn through(
    run: &Run,
    world: &mut World,
    node: &Arc<Node>,
    seen: &Arc<Seen>,
    baseline: &Snapshot,
) -> Result<Outcome, Error> {
    let breach = Arc::new(Breach::default());
    let stored = watch::stored(&node.data);
    let daemon = Arc::new(AtomicI32::new(world.daemon.pid()));
    let guest = Guest::come(&world.tokio);
    let mut rests = Rests::new(run, world);
    let tasks = tasks(run, world, node, seen, &daemon, &breach);
    let mut trouble = Trouble {
        world,
        node: Arc::clone(node),
        guest: guest.clone(),
        daemon,
        kills: 0,
        slowest: Duration::ZERO,
    };
    let end = Instant::now() + run.lasts;
    let mut number = 0;
    let is_done = |kills| Instant::now() > end || kills >= run.kills || node.lives() >= run.pods;
    while !node.is_over() && !is_done(trouble.kills) {
        let mishap = Mishap::draw(&mut Chance::new(node.seed, "fault", number), run.kinds);
        breach.of(node, trouble.carry_out(&mishap));
        breach.of(node, rests.take_if_due(&mut trouble, seen));
        number += 1;
    }
    breach.of(node, rests.take_if_due(&mut trouble, seen));
    node.end();
    let (kills, slowest) = (trouble.kills, trouble.slowest);
    let all = async {
        for task in tasks {
            // A panic of it is told by the test's output.
            let _ = task.await;
        }
    };
    let limit = 5 * PATIENCE;
    let ended = world.tokio.block_on(async { tokio::time::timeout(limit, all).await });
    if let Some(error) = lock(&breach.0).take() {
        return Err(error);
    }
    ended.map_err(|_| Error::Late {
        what: "the end of all pods",
        after: limit,
        last: world.daemon.log_tail(),
    })?;
    nothing_is_left(world, baseline, stored)?;
    let (visits, calls) = guest.figures();
    let told = vec![
        format!(
            "{} pods, {kills} kills of the daemon; the slowest start until the first answer: {slowest:?}",
            node.lives()
        ),
        format!("the plugin has joined {visits} times and was asked {calls} times"),
        rests.table(),
    ];
    Ok((told, rests.are_flat()))
}

/// Everybody but who carries the faults out.
fn tasks(
    run: &Run,
    world: &World,
    node: &Arc<Node>,
    seen: &Arc<Seen>,
    daemon: &Arc<AtomicI32>,
    breach: &Arc<Breach>,
) -> Vec<JoinHandle<()>> {
    let (kinds, most) = (run.kinds, run.pods.div_ceil(LANES));
    let mut tasks = Vec::new();
    for lane in 0..LANES {
        tasks.push(task(
            world,
            node,
            breach,
            move |node| async move { lives(&node, lane, kinds, most).await },
        ));
    }
    tasks.push(task(world, node, breach, |node| async move { watch::lists(&node).await }));
    tasks.push(task(world, node, breach, |node| async move { watch::events(&node).await }));
    let own = Arc::clone(seen);
    tasks.push(task(world, node, breach, |node| async move { watch::witness(&node, &own).await }));
    // Of pods that live briefly the node at rest tells more.
    if !run.kinds.are_brief() {
        let (own, daemon) = (Arc::clone(seen), Arc::clone(daemon));
        tasks.push(task(world, node, breach, |node| async move {
            watch::sample(&node, &own, &daemon).await;
            Ok(())
        }));
    }
    tasks
}

fn task<F: Future<Output = Result<(), Error>> + Send + 'static>(
    world: &World,
    node: &Arc<Node>,
    breach: &Arc<Breach>,
    work: impl FnOnce(Arc<Node>) -> F,
) -> JoinHandle<()> {
    let (node, breach) = (Arc::clone(node), Arc::clone(breach));
    let work = work(Arc::clone(&node));
    world.tokio.spawn(async move {
        breach.of(&node, work.await);
    })
}

/// A pod after the other.
async fn lives(node: &Node, lane: u64, kinds: Kinds, most: u64) -> Result<(), Error> {
    let mut number = 0;
    while !node.is_over() && number < most {
        let _turn = node.turn.read().await;
        let life = Life::draw(&mut Chance::new(node.seed, &format!("lane {lane}"), number), kinds);
        node.note(&format!("lane {lane}: life {number}: {life:?}"));
        pod::live(node, lane, number, &life)
            .await
            .inspect_err(|_| node.note(&format!("lane {lane} has found it")))?;
        node.has_lived();
        number += 1;
    }
    Ok(())
}

/// In the end the node is as it was (I4).
fn nothing_is_left(world: &World, baseline: &Snapshot, stored: Option<u64>) -> Result<(), Error> {
    let (pods, containers) = world.tokio.block_on(async {
        let cri = world.daemon.client().await?;
        Ok::<_, Error>((cri.pods().await?, cri.containers().await?))
    })?;
    if !pods.is_empty() || !containers.is_empty() {
        return Err(Error::Unexpected {
            what: "the list of an empty node (I1)",
            seen: format!("{pods:?} {containers:?}"),
        });
    }
    let begin = Instant::now();
    while let Err(error) = baseline.settle(&world.isolation, &world.daemon) {
        if begin.elapsed() > SETTLED {
            return Err(error);
        }
    }
    let is_more = |now: Option<u64>| now.zip(stored).is_none_or(|(now, then)| now > then + 2048);
    let is_more = || is_more(watch::stored(&world.daemon.place().data));
    let gone = e2e::wait::until("the store being as large as it was", SETTLED, || !is_more());
    gone.map_err(|error| Error::Unexpected {
        what: "the store (I4)",
        seen: format!("{error}: {}", listing(&world.daemon.place().data)),
    })?;
    let shims = world.isolation.processes().into_values().filter(|line| line.contains("corten-shim"));
    let shims: Vec<_> = shims.collect();
    if shims.is_empty() {
        Ok(())
    } else {
        Err(Error::Unexpected { what: "the processes (I4)", seen: shims.join("\n") })
    }
}

/// What lies in a store.
fn listing(data: &Path) -> String {
    let images = data.join("images");
    let names = ["blobs/sha256", "layers/sha256", "unfinished", "ingest", "outlines"];
    let count = |name: &str| fs::read_dir(images.join(name)).map_or(0, Iterator::count);
    names.iter().map(|name| format!("{name}: {}; ", count(name))).collect()
}
