//! What is decided beforehand: the life of each pod, and the faults.

use crate::chance::Chance;
use std::time::Duration;

/// How many images there are to be pulled.
pub(crate) const IMAGES: u64 = 3;

/// What a container does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Numbers its lines until it is asked to end, and ends with this.
    Counts(i32),
    /// Writes so many numbered lines, and ends with this.
    Ends(u64, i32),
    /// Does nothing, and hears nothing.
    Idles,
    /// Says again what it hears on a port.
    Echoes,
    /// Tells the digest of a file of the image with this number.
    Reads(u64),
}

/// What is done to a pod, or to one of its containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// A command that ends with this.
    Exec(i32),
    /// A command that takes longer than it may.
    ExecTooLong,
    Attach,
    Forward,
    /// Another limit, in MiB.
    Limit(i64),
    Rotate,
    Statistics,
    /// Somebody kills its first process.
    KillFirst,
    Stop,
    /// Another container; its client hangs up once after so many milliseconds.
    Another(Role, Option<u64>),
    /// Somebody kills the pod's supervisor.
    KillSupervisor,
    Rest(u64),
}

/// A pod's life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) shares_pids: bool,
    pub(crate) on_the_host_s_network: bool,
    pub(crate) has_host_port: bool,
    /// An image that it pulls first, and removes in the end.
    pub(crate) image: Option<u64>,
    /// One by one, before the pod.
    pub(crate) removes_containers: bool,
    pub(crate) first: Vec<Role>,
    /// Each with a number that says which container is meant.
    pub(crate) steps: Vec<(Step, u64)>,
}

impl Life {
    pub(crate) fn draw(chance: &mut Chance, kinds: Kinds) -> Self {
        if kinds.are_brief() { Self::brief(chance) } else { Self::full(chance) }
    }

    /// As much of a life as leaves room for thousands: nothing in it waits.
    fn brief(chance: &mut Chance) -> Self {
        let image = chance.one_in(20).then(|| chance.below(IMAGES));
        let first = [role(chance)].into_iter().chain(image.map(Role::Reads)).collect();
        let steps: Vec<_> = (0..chance.below(3)).map(|_| (step(chance), chance.next())).collect();
        let waits = |step: &Step| matches!(step, Step::ExecTooLong | Step::Rest(_));
        Self {
            shares_pids: chance.one_in(3),
            on_the_host_s_network: chance.one_in(10),
            has_host_port: chance.one_in(3),
            image,
            removes_containers: chance.one_in(2),
            first,
            steps: steps.into_iter().filter(|(step, _)| !waits(step)).collect(),
        }
    }

    fn full(chance: &mut Chance) -> Self {
        let image = chance.one_in(3).then(|| chance.below(IMAGES));
        let first: Vec<Role> = (0..=chance.below(3)).map(|_| role(chance)).collect();
        let first = first.into_iter().chain(image.map(Role::Reads)).collect();
        let steps = 2 + chance.below(10);
        Self {
            shares_pids: chance.one_in(3),
            on_the_host_s_network: chance.one_in(6),
            has_host_port: chance.one_in(3),
            image,
            removes_containers: chance.one_in(2),
            first,
            steps: (0..steps).map(|_| (step(chance), chance.next())).collect(),
        }
    }
}

fn role(chance: &mut Chance) -> Role {
    let code = i32::try_from(1 + chance.below(100)).unwrap_or(1);
    match chance.below(10) {
        0..4 => Role::Counts(code),
        4..7 => Role::Ends(chance.below(5000), code),
        7 => Role::Idles,
        _ => Role::Echoes,
    }
}

fn step(chance: &mut Chance) -> Step {
    match chance.below(40) {
        0..8 => Step::Exec(i32::try_from(chance.below(256)).unwrap_or_default()),
        8 => Step::ExecTooLong,
        9..13 => Step::Attach,
        13..17 => Step::Forward,
        17..20 => Step::Limit(i64::try_from(40 + chance.below(100)).unwrap_or(64)),
        20..25 => Step::Rotate,
        25..27 => Step::Statistics,
        27..29 => Step::KillFirst,
        29..32 => Step::Stop,
        32..36 => Step::Another(role(chance), chance.one_in(2).then(|| chance.below(60))),
        36 => Step::KillSupervisor,
        _ => Step::Rest(chance.below(300)),
    }
}

/// What goes wrong with the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The daemon is killed.
    Kill,
    /// It is killed, and the next ones this many milliseconds after their starts.
    KillAgain([u64; 3]),
    /// It is killed, and the next one dies at this failpoint of its start.
    KillAt(&'static str),
    /// It is asked to end.
    End,
    /// The plugin dies.
    Plugin,
    /// The registry is killed.
    Registry,
    /// The disk of images, layers and durable records is full.
    Disk,
    /// The CNI plugin is gone, fails, or says what nobody understands.
    Network(&'static str),
}

/// What may go wrong in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kinds {
    All,
    /// The daemon is killed, and nothing else happens.
    Kills,
    /// It is killed, and again while it recovers.
    Recoveries,
    /// Everything but a full disk, while pods come and go quickly.
    Many,
    /// The same, but for the daemon, which lives through all of it.
    ManyOfOneDaemon,
}

impl Kinds {
    /// Whether pods live briefly.
    pub(crate) fn are_brief(self) -> bool {
        matches!(self, Self::Many | Self::ManyOfOneDaemon)
    }
}

/// The failpoints of a start.
fn of_a_start(name: &str) -> bool {
    name.starts_with("engine.recover.")
        || name.starts_with("image.start.")
        || name.starts_with("engine.frame.")
}

/// The manners of a CNI plugin that is broken.
pub(crate) const MANNERS: [&str; 3] = ["gone", "fails", "babbles"];

/// A fault, with what is before it and how long it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mishap {
    pub(crate) after: Duration,
    pub(crate) fault: Fault,
    pub(crate) lasts: Duration,
}

impl Mishap {
    pub(crate) fn draw(chance: &mut Chance, kinds: Kinds) -> Self {
        let fault = match kinds {
            Kinds::All => any(chance),
            Kinds::Many => of_many(chance, 10),
            Kinds::ManyOfOneDaemon => of_many(chance, 6),
            Kinds::Kills if !chance.one_in(5) => Fault::Kill,
            Kinds::Recoveries if chance.one_in(2) => {
                let points: Vec<_> =
                    failpoint::POINTS.iter().filter(|point| of_a_start(point.name)).collect();
                Fault::KillAt(
                    points[usize::try_from(chance.below(points.len() as u64)).unwrap_or_default()].name,
                )
            }
            Kinds::Kills | Kinds::Recoveries => Fault::KillAgain([(); 3].map(|()| chance.below(80))),
        };
        let milliseconds = |chance: &mut Chance, most| Duration::from_millis(chance.below(most));
        if kinds.are_brief() {
            return Self { after: milliseconds(chance, 1000), fault, lasts: milliseconds(chance, 300) };
        }
        if kinds != Kinds::All {
            return Self { after: milliseconds(chance, 500), fault, lasts: milliseconds(chance, 30) };
        }
        let lasts = if chance.one_in(6) { 3000 } else { 800 };
        Self { after: milliseconds(chance, 2500), fault, lasts: milliseconds(chance, lasts) }
    }
}

fn any(chance: &mut Chance) -> Fault {
    match chance.below(16) {
        0..4 => Fault::Kill,
        4 => Fault::KillAgain([(); 3].map(|()| chance.below(80))),
        5 => Fault::End,
        6..8 => Fault::Plugin,
        8..10 => Fault::Registry,
        10..13 => Fault::Disk,
        _ => broken_network(chance),
    }
}

/// One of the first so many.
fn of_many(chance: &mut Chance, first: u64) -> Fault {
    match chance.below(first) {
        0..4 => broken_network(chance),
        4 => Fault::Plugin,
        5 => Fault::Registry,
        6 => Fault::End,
        7 => Fault::KillAgain([(); 3].map(|()| chance.below(80))),
        _ => Fault::Kill,
    }
}

fn broken_network(chance: &mut Chance) -> Fault {
    Fault::Network(MANNERS[usize::try_from(chance.below(3)).unwrap_or_default()])
}

#[test]
fn the_same_seed_decides_the_same_and_everything_is_decided_at_times() {
    let lives = |seed| {
        let life = |number| Life::draw(&mut Chance::new(seed, "pod", number), Kinds::All);
        (0..400).map(life).collect::<Vec<_>>()
    };
    assert_eq!(lives(5), lives(5));
    assert_ne!(lives(5), lives(6));
    let steps: Vec<_> = lives(5).into_iter().flat_map(|life| life.steps).map(|(step, _)| step).collect();
    let kinds: std::collections::BTreeSet<_> =
        steps.iter().map(|step| format!("{step:?}").split('(').next().unwrap().to_owned()).collect();
    assert_eq!(kinds.len(), 12, "{kinds:?}");
    let faults: std::collections::BTreeSet<_> = (0..400)
        .map(|number| Mishap::draw(&mut Chance::new(5, "fault", number), Kinds::All).fault)
        .map(|fault| format!("{fault:?}").split('(').next().unwrap().to_owned())
        .collect();
    assert_eq!(faults.len(), 7, "{faults:?}");
    let kills = (0..400).map(|number| Mishap::draw(&mut Chance::new(5, "fault", number), Kinds::Kills).fault);
    assert!(kills.into_iter().all(|fault| matches!(fault, Fault::Kill | Fault::KillAgain(_))));
}
