//! What can be asked for and can happen, and what comes of it.

use super::super::host::Step as HostStep;
use super::super::{World, container, networked};
use super::Trial;
use super::reference::{Container, Pod, State};
use crate::EngineError;
use crate::supervisor::fake::{Act, Verb};
use model::ErrorKind;
use proptest::prelude::*;
use std::time::Duration;
use wire::msg::ErrorCode;

const PODS: usize = 3;
const CONTAINERS: usize = 2;

/// What goes wrong with one thing that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Nothing,
    /// The client leaves, and asks again.
    Leaves,
    Refuses,
    AnswersWrongly,
    HangsUp,
    Dies,
    DiesAfter,
    /// The host fails beside the supervisor.
    Host,
    Network,
}

/// What happens while no daemon is there.
#[derive(Debug, Clone, Copy)]
pub(super) enum Meanwhile {
    Nothing,
    Exit(usize, usize, i32),
    Kill(usize),
    Reboot,
}

/// By the numbers of names.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Run(usize, Fault),
    StopPod(usize, Fault),
    RemovePod(usize, Fault),
    Create(usize, usize, Fault),
    Start(usize, usize, Fault),
    Stop(usize, usize),
    Remove(usize, usize, Fault),
    Exit(usize, usize, i32),
    Kill(usize),
    HangUp(usize),
    Restart(Meanwhile),
    /// The daemon is killed while it makes something.
    CutRun(usize),
    CutCreate(usize, usize),
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    use Fault::{AnswersWrongly, Dies, DiesAfter, HangsUp, Host, Leaves, Network, Nothing, Refuses};
    let (pod, one) = (0..PODS, 0..CONTAINERS);
    let both = (pod.clone(), one);
    let mostly =
        |faults: &'static [Fault]| prop_oneof![2 => Just(Nothing), 1 => prop::sample::select(faults)];
    let meanwhile = prop_oneof![
        3 => Just(Meanwhile::Nothing),
        2 => (both.clone(), 1..9).prop_map(|((pod, one), code)| Meanwhile::Exit(pod, one, code)),
        1 => pod.clone().prop_map(Meanwhile::Kill),
        1 => Just(Meanwhile::Reboot),
    ];
    let make: &[Fault] = &[Leaves, Refuses, AnswersWrongly, HangsUp, Dies, DiesAfter, Host, Network];
    prop_oneof![
        6 => (pod.clone(), mostly(make)).prop_map(|(pod, fault)| Step::Run(pod, fault)),
        2 => (pod.clone(), mostly(&[Host, Network])).prop_map(|(pod, fault)| Step::StopPod(pod, fault)),
        1 => (pod.clone(), mostly(&[Host, Network])).prop_map(|(pod, fault)| Step::RemovePod(pod, fault)),
        8 => (both.clone(), mostly(&make[..6])).prop_map(|((pod, one), fault)| Step::Create(pod, one, fault)),
        8 => (both.clone(), mostly(&[Refuses, HangsUp, Dies]))
            .prop_map(|((pod, one), fault)| Step::Start(pod, one, fault)),
        3 => both.clone().prop_map(|(pod, one)| Step::Stop(pod, one)),
        3 => (both.clone(), mostly(&[Refuses])).prop_map(|((pod, one), fault)| Step::Remove(pod, one, fault)),
        3 => (both.clone(), 0..9).prop_map(|((pod, one), code)| Step::Exit(pod, one, code)),
        1 => pod.clone().prop_map(Step::Kill),
        1 => pod.clone().prop_map(Step::HangUp),
        2 => meanwhile.prop_map(Step::Restart),
        1 => pod.prop_map(Step::CutRun),
        1 => both.prop_map(|(pod, one)| Step::CutCreate(pod, one)),
    ]
}

fn act(fault: Fault) -> Option<Act> {
    match fault {
        Fault::Nothing | Fault::Leaves | Fault::Host | Fault::Network => None,
        Fault::Refuses => Some(Act::Refuse(ErrorCode::Setup, 22)),
        Fault::AnswersWrongly => Some(Act::WrongReply),
        Fault::HangsUp => Some(Act::HangUp),
        Fault::Dies => Some(Act::Die),
        Fault::DiesAfter => Some(Act::DieAfter),
    }
}

/// Takes a step on the node, and in the reference.
pub(super) fn take(trial: &mut Trial, step: &Step) {
    match *step {
        Step::Run(pod, fault) => run(trial, pod, fault),
        Step::StopPod(pod, fault) => end(trial, pod, fault, false),
        Step::RemovePod(pod, fault) => end(trial, pod, fault, true),
        Step::Create(pod, one, fault) => create(trial, (pod, one), fault),
        Step::Start(pod, one, fault) => start(trial, (pod, one), fault),
        Step::Stop(pod, one) => stop(trial, (pod, one)),
        Step::Remove(pod, one, fault) => remove(trial, (pod, one), fault),
        Step::Exit(pod, one, code) => exit(trial, (pod, one), code),
        Step::Kill(pod) => kill(trial, pod),
        Step::HangUp(pod) => {
            if let Some(pod) = trial.reference.pod(pod) {
                trial.world.node.hang_up(&pod.id);
            }
        }
        Step::Restart(meanwhile) => restart(trial, meanwhile),
        Step::CutRun(pod) => cut_run(trial, pod),
        Step::CutCreate(pod, one) => cut_create(trial, (pod, one)),
    }
}

fn named(pod: usize) -> model::SandboxConfig {
    networked(&format!("p{pod}"))
}

fn called(one: usize) -> model::ContainerConfig {
    container(&format!("c{one}"))
}

fn run(trial: &mut Trial, pod: usize, fault: Fault) {
    let world = &trial.world;
    let (engine, is_new) = (world.engine(), !trial.reference.pods.contains_key(&pod));
    if fault == Fault::Leaves {
        let engine = world.engine();
        world.spawn(async move { engine.pods().run_pod(named(pod), String::new()).await }).abort();
    }
    let made = with_host(world, fault, HostStep::Mount, net::Command::Add, is_new, || {
        if let (Some(act), true) = (act(fault), is_new) {
            world.node.on(Verb::Sandbox, act);
        }
        world.on(engine.pods().run_pod(named(pod), String::new()))
    });
    match (trial.reference.pod(pod), made) {
        (Some(known), Ok(id)) => assert!(known.is_ready && known.id == id.as_str(), "{pod}"),
        (Some(known), Err(error)) => {
            assert!(!known.is_ready && error.kind() == ErrorKind::AlreadyExists, "{error}");
        }
        (None, made) => {
            let succeeds = matches!(fault, Fault::Nothing | Fault::Leaves);
            assert_eq!(made.is_ok(), succeeds, "{made:?}");
            if let Ok(id) = made {
                trial.told.made.insert(id.as_str().to_owned());
                trial.reference.pods.insert(pod, Pod::new(id.as_str()));
            }
        }
    }
}

/// Does something while the host or the network fails, where the fault is theirs and it comes to that.
fn with_host<T>(
    world: &World,
    fault: Fault,
    step: HostStep,
    command: net::Command,
    comes_to_it: bool,
    work: impl FnOnce() -> T,
) -> T {
    match fault {
        Fault::Host if comes_to_it => world.host.fail(step),
        Fault::Network if comes_to_it => world.network.fail(command, "scripted"),
        _ => {}
    }
    let done = work();
    world.network.mend(command);
    done
}

fn end(trial: &mut Trial, pod: usize, fault: Fault, removes: bool) {
    let world = &trial.world;
    let Some(known) = trial.reference.pods.get_mut(&pod) else { return };
    let (engine, id) = (world.engine(), known.id.clone());
    let released = engine.core.registry.pod(&id).unwrap().is_released();
    let fails = match fault {
        Fault::Host => !released,
        Fault::Network => !released && known.failures_left > 0,
        _ => false,
    };
    let ended = with_host(world, fault, HostStep::Unmount, net::Command::Del, fails, || {
        world.on(async {
            if removes { engine.pods().remove_pod(&id).await } else { engine.pods().stop_pod(&id).await }
        })
    });
    assert_eq!(ended.is_err(), fails, "{ended:?}");
    match fault {
        Fault::Network if fails => known.failures_left -= 1,
        // Its network was released before.
        Fault::Host if fails => known.lose_namespace(),
        _ => {}
    }
    known.end();
    if removes && !fails {
        trial.reference.remove_pod(pod);
    }
}

fn create(trial: &mut Trial, (pod, one): (usize, usize), fault: Fault) {
    let world = &trial.world;
    let Some(known) = trial.reference.pods.get_mut(&pod) else { return };
    let (engine, id) = (world.engine(), known.id.clone());
    let is_new = known.is_ready && !known.containers.contains_key(&one);
    if fault == Fault::Leaves {
        let (engine, id) = (world.engine(), id.clone());
        world
            .spawn(async move { engine.containers().create_container(&id, called(one), None).await })
            .abort();
    }
    if let (Some(act), true) = (act(fault), is_new) {
        world.node.on(Verb::Create, act);
    }
    let made = world.on(engine.containers().create_container(&id, called(one), None));
    let made = made.map(|id| id.as_str().to_owned());
    match (known.containers.get(&one), made) {
        (_, made) if !known.is_ready => {
            assert_eq!(made.unwrap_err().kind(), ErrorKind::FailedPrecondition);
        }
        (Some(held), made) => match held.state {
            State::Exited(_) => assert_eq!(made.unwrap_err().kind(), ErrorKind::AlreadyExists),
            _ => assert_eq!(made.unwrap(), held.id),
        },
        (None, Ok(id)) => {
            assert!(matches!(fault, Fault::Nothing | Fault::Leaves), "{fault:?}");
            trial.told.made.insert(id.clone());
            known.containers.insert(one, Container { id, state: State::Created });
        }
        (None, Err(error)) => {
            assert!(!matches!(fault, Fault::Nothing | Fault::Leaves), "{error}");
            if matches!(fault, Fault::Dies | Fault::DiesAfter) {
                known.end();
            }
        }
    }
}

fn start(trial: &mut Trial, (pod, one): (usize, usize), fault: Fault) {
    let world = &trial.world;
    let Some(known) = trial.reference.pods.get_mut(&pod) else { return };
    let Some(held) = known.containers.get_mut(&one) else { return };
    let before = held.state;
    if let (Some(act), State::Created) = (act(fault), before) {
        world.node.on(Verb::Start, act);
    }
    let outcome = world.on(world.engine().containers().start_container(&held.id));
    match (before, fault) {
        (State::Running, _) => outcome.unwrap(),
        (State::Exited(_), _) => assert_eq!(outcome.unwrap_err().kind(), ErrorKind::FailedPrecondition),
        (State::Created, Fault::Nothing) => {
            outcome.unwrap();
            held.state = State::Running;
        }
        (State::Created, fault) => {
            outcome.unwrap_err();
            match fault {
                // It was done, and is heard of when the supervisor is connected to again.
                Fault::HangsUp => held.state = State::Running,
                Fault::Dies => known.end(),
                _ => {}
            }
        }
    }
}

fn stop(trial: &mut Trial, (pod, one): (usize, usize)) {
    let Some(held) = trial.reference.container(pod, one) else { return };
    let engine = trial.world.engine();
    trial.world.on(engine.containers().stop_container(&held.id, Duration::from_secs(5))).unwrap();
    if held.state == State::Running {
        held.end(Some(128 + 15));
    }
}

fn remove(trial: &mut Trial, (pod, one): (usize, usize), fault: Fault) {
    let world = &trial.world;
    let Some(known) = trial.reference.pods.get_mut(&pod) else { return };
    let is_ready = known.is_ready;
    let Some(held) = known.containers.get_mut(&one) else { return };
    if let (Some(act), true) = (act(fault), is_ready) {
        world.node.on(Verb::Remove, act);
    }
    let outcome: Result<(), EngineError> = world.on(world.engine().containers().remove_container(&held.id));
    if fault == Fault::Refuses && is_ready {
        outcome.unwrap_err();
        if held.state == State::Running {
            held.end(None);
        }
        return;
    }
    outcome.unwrap();
    trial.reference.remove_container(pod, one);
}

fn exit(trial: &mut Trial, (pod, one): (usize, usize), code: i32) {
    let Some(held) = trial.reference.container(pod, one) else { return };
    if held.state == State::Running {
        trial.world.node.exit(&held.id, code);
        held.end(Some(code));
    }
}

fn kill(trial: &mut Trial, pod: usize) {
    let Some(pod) = trial.reference.pod(pod) else { return };
    if pod.is_ready {
        trial.world.node.kill(&pod.id);
        pod.end();
    }
}

fn restart(trial: &mut Trial, meanwhile: Meanwhile) {
    if let Meanwhile::Reboot = meanwhile {
        trial.world.reboot();
        trial.reference.pods.values_mut().for_each(Pod::outlive);
        return trial.begin_again();
    }
    trial.world.kill();
    match meanwhile {
        Meanwhile::Exit(pod, one, code) => exit(trial, (pod, one), code),
        Meanwhile::Kill(pod) => kill(trial, pod),
        Meanwhile::Nothing | Meanwhile::Reboot => {}
    }
    trial.world.start();
    trial.begin_again();
}

fn cut_run(trial: &mut Trial, pod: usize) {
    if trial.reference.pods.contains_key(&pod) {
        return;
    }
    let world = &mut trial.world;
    let (engine, asked) = (world.engine(), world.node.count(Verb::Sandbox));
    world.node.on(Verb::Sandbox, Act::Hang);
    world.spawn(async move { engine.pods().run_pod(named(pod), String::new()).await });
    world.until("it hangs", || world.node.count(Verb::Sandbox) > asked);
    world.restart();
    trial.begin_again();
}

fn cut_create(trial: &mut Trial, (pod, one): (usize, usize)) {
    let Some(known) = trial.reference.pods.get(&pod) else { return };
    if !known.is_ready || known.containers.contains_key(&one) {
        return;
    }
    let (world, id) = (&mut trial.world, known.id.clone());
    let (engine, asked) = (world.engine(), world.node.count(Verb::Create));
    world.node.on(Verb::Create, Act::Hang);
    world.spawn(async move { engine.containers().create_container(&id, called(one), None).await });
    world.until("it hangs", || world.node.count(Verb::Create) > asked);
    world.restart();
    trial.begin_again();
}
