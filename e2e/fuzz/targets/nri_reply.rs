//! What two NRI plugins answer to the creation, the update and the end of a container, cut where the first byte says: it
//! is merged or refused.
#![no_main]

use nri::api::{
    Container, CreateContainerRequest, CreateContainerResponse, LinuxContainer, LinuxResources, Mount,
    StopContainerResponse, UpdateContainerRequest, UpdateContainerResponse,
};
use nri::merge::{Creation, Stop, Update};
use prost::Message as _;

fn container() -> Container {
    Container {
        id: "c".to_owned(),
        args: vec!["sh".to_owned(), "-c".to_owned()],
        env: vec!["A=b".to_owned(), "broken".to_owned()],
        mounts: vec![Mount { destination: "/a".to_owned(), ..Mount::default() }],
        linux: Some(LinuxContainer::default()),
        ..Container::default()
    }
}

fn create(replies: [&[u8]; 2]) {
    let mut creation = Creation::new(CreateContainerRequest {
        container: Some(container()),
        ..CreateContainerRequest::default()
    });
    for (plugin, bytes) in ["10-a", "20-b"].into_iter().zip(replies) {
        let Ok(reply) = CreateContainerResponse::decode(bytes) else { return };
        if creation.take(plugin, reply).is_err() {
            return;
        }
    }
    creation.request();
    creation.finish();
}

fn update(replies: [&[u8]; 2]) {
    let mut update = Update::new(UpdateContainerRequest {
        container: Some(container()),
        linux_resources: Some(LinuxResources::default()),
        ..UpdateContainerRequest::default()
    });
    for (plugin, bytes) in ["10-a", "20-b"].into_iter().zip(replies) {
        let Ok(reply) = UpdateContainerResponse::decode(bytes) else { return };
        if update.take(plugin, reply).is_err() {
            return;
        }
    }
    update.finish();
}

fn stop(replies: [&[u8]; 2]) {
    let mut stop = Stop::default();
    for (plugin, bytes) in ["10-a", "20-b"].into_iter().zip(replies) {
        let Ok(reply) = StopContainerResponse::decode(bytes) else { return };
        if stop.take(plugin, reply).is_err() {
            return;
        }
    }
    stop.finish();
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let (head, tail) = bytes.split_at(usize::from(*cut).min(bytes.len()));
    create([head, tail]);
    update([head, tail]);
    stop([head, tail]);
});
