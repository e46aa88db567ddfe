//! Whatever is asked for in whatever order, with whatever fails on the way: lists, statuses and events show what a small
//! reference says. A run tells its seed; CORTEN_SEED=NUMBER repeats it, PROPTEST_CASES=NUMBER makes it longer.

mod reference;
mod steps;
mod told;

use super::World;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use reference::{Pod, Reference};
use std::fmt;
use steps::{Fault, Meanwhile, Step, step, take};
use told::Told;

/// One node with what it ought to look like.
struct Trial {
    world: World,
    reference: Reference,
    told: Told,
}

impl Trial {
    fn new() -> Self {
        let world = World::new();
        let told = Told::new(&world);
        Self { world, reference: Reference::default(), told }
    }

    /// Waits for the node to be as it ought to be.
    fn settle(&mut self, after: &Step) {
        let mut difference = String::new();
        for _ in 0..2000 {
            self.told.hear(&self.world, after);
            difference = self.reference.difference(&self.world).unwrap_or_default();
            if difference.is_empty() {
                difference = self.told.difference(&self.reference).unwrap_or_default();
            }
            if difference.is_empty() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        panic!("after {after:?}: {difference}");
    }

    /// A daemon starts where one was.
    fn begin_again(&mut self) {
        self.told = Told::new(&self.world);
        self.reference.pods.values_mut().for_each(Pod::is_met_anew);
    }
}

/// In one line.
struct Steps(Vec<Step>);

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|step| write!(f, "{step:?} "))
    }
}

fn run(steps: &[Step]) {
    let mut trial = Trial::new();
    for step in steps {
        take(&mut trial, step);
        trial.settle(step);
    }
    for pod in trial.reference.pods.values() {
        trial.world.on(trial.world.engine().pods().remove_pod(&pod.id)).unwrap();
    }
    trial.world.nothing_left();
}

/// Orders that once went otherwise than the reference said.
#[test]
fn orders_that_were_wrong_once_are_right() {
    use Fault::{Host, Network, Nothing};
    use Meanwhile::Reboot;
    let stop = |fault| Step::StopPod(0, fault);
    let anew = || Step::Restart(Meanwhile::Nothing);
    run(&[Step::Run(0, Nothing), stop(Host), stop(Network)]);
    run(&[Step::Run(0, Nothing), stop(Host), anew(), stop(Network)]);
    run(&[Step::Run(0, Nothing), stop(Network), anew(), stop(Network), stop(Network), stop(Network)]);
    let made = || [Step::Run(0, Nothing), Step::Create(0, 1, Nothing)];
    let then = |more: [Step; 3]| run(&made().into_iter().chain(more).collect::<Vec<_>>());
    then([Step::Remove(0, 1, Nothing), anew(), anew()]);
    then([Step::Restart(Reboot), anew(), Step::Restart(Reboot)]);
}

#[test]
fn the_node_is_what_the_reference_says() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = number("CORTEN_SEED").unwrap_or_else(|| getrandom::u64().unwrap());
    let cases = number("PROPTEST_CASES").map_or(24, |cases| u32::try_from(cases).unwrap());
    println!("CORTEN_SEED={seed}");
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_iters: 100,
        ..ProptestConfig::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let outcome = runner.run(&prop::collection::vec(step(), 1..25).prop_map(Steps), |steps| {
        run(&steps.0);
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("CORTEN_SEED={seed}: {failure}");
    }
}
