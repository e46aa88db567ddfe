//! What comes of several plugins' replies.
#![allow(clippy::unwrap_used)]

mod fields;
mod properties;
mod updates;

use super::*;
use crate::api::{KeyValue, LinuxContainerAdjustment, LinuxDevice, Mount};

const ID: &str = "container";

pub(super) fn pair(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: value.to_owned() }
}

pub(super) fn mount(destination: &str, source: &str) -> Mount {
    Mount { destination: destination.to_owned(), source: source.to_owned(), ..Mount::default() }
}

pub(super) fn linux(adjustment: LinuxContainerAdjustment) -> ContainerAdjustment {
    ContainerAdjustment { linux: Some(adjustment), ..ContainerAdjustment::default() }
}

pub(super) fn reply(adjustment: ContainerAdjustment) -> CreateContainerResponse {
    CreateContainerResponse { adjust: Some(adjustment), ..CreateContainerResponse::default() }
}

pub(super) fn of(container: Container) -> Creation {
    let container = Container { id: ID.to_owned(), ..container };
    Creation::new(CreateContainerRequest { container: Some(container), ..CreateContainerRequest::default() })
}

pub(super) fn shown(creation: &Creation) -> &Container {
    creation.request().container.as_ref().unwrap()
}

#[test]
fn each_plugin_sees_what_those_before_it_have_changed() {
    let mut creation = of(Container {
        env: vec!["A=1".into(), "B=2".into(), "C=3".into()],
        mounts: vec![mount("/a", "/one"), mount("/b", "/two")],
        annotations: [("x".to_owned(), "1".to_owned()), ("y".to_owned(), "2".to_owned())].into(),
        ..Container::default()
    });
    let first = ContainerAdjustment {
        env: vec![pair("-A", ""), pair("B", "new"), pair("D", "4")],
        mounts: vec![mount("-/a", ""), mount("/b", "/other"), mount("/c", "/three")],
        annotations: [("-x".to_owned(), String::new()), ("z".to_owned(), "3".to_owned())].into(),
        ..ContainerAdjustment::default()
    };
    creation.take("10-a", reply(first)).unwrap();
    let container = shown(&creation);
    assert_eq!(container.env, ["C=3", "B=new", "D=4"]);
    assert_eq!(container.mounts, [mount("/b", "/other"), mount("/c", "/three")]);
    assert_eq!(
        container.annotations.iter().collect::<Vec<_>>(),
        [(&"y".to_owned(), &"2".to_owned()), (&"z".to_owned(), &"3".to_owned())]
    );
    let asked = creation.finish().adjustment;
    assert_eq!(asked.env, [pair("-A", ""), pair("B", "new"), pair("D", "4")]);
    assert_eq!(asked.mounts, [mount("-/a", ""), mount("/b", "/other"), mount("/c", "/three")]);
    assert_eq!(asked.annotations.keys().collect::<Vec<_>>(), ["-x", "z"]);
}

#[test]
fn who_removes_what_another_has_set_may_set_it_and_nobody_else() {
    let set = |value: &str| ContainerAdjustment { env: vec![pair("A", value)], ..Default::default() };
    let instead = ContainerAdjustment { env: vec![pair("A", "2"), pair("-A", "")], ..Default::default() };
    let removal = ContainerAdjustment { env: vec![pair("-A", "")], ..Default::default() };
    let mut creation = of(Container::default());
    creation.take("10-a", reply(set("1"))).unwrap();
    creation.take("20-b", reply(instead)).unwrap();
    assert_eq!(shown(&creation).env, ["A=2"]);
    creation.take("30-c", reply(removal)).unwrap();
    assert_eq!(shown(&creation).env, [""; 0]);
    let error = creation.clone().take("40-d", reply(set("4"))).unwrap_err();
    assert_eq!(error.to_string(), r#"NRI plugins "30-c" and "40-d" both set Env "A""#);
    creation.take("30-c", reply(set("3"))).unwrap();
    assert_eq!(creation.finish().adjustment.env, [pair("-A", ""), pair("A", "3")]);
}

#[test]
fn arguments_are_one_field_that_an_empty_word_frees() {
    let args = |words: &[&str]| {
        let args = words.iter().map(|word| (*word).to_owned()).collect();
        reply(ContainerAdjustment { args, ..Default::default() })
    };
    let mut creation = of(Container { args: vec!["first".to_owned()], ..Container::default() });
    creation.take("10-a", args(&["echo", "a"])).unwrap();
    let error = creation.clone().take("20-b", args(&["echo", "b"])).unwrap_err();
    assert_eq!(error.to_string(), r#"NRI plugins "10-a" and "20-b" both set Args"#);
    creation.take("20-b", args(&["", "echo", "b"])).unwrap();
    assert_eq!(shown(&creation).args, ["echo", "b"]);
    creation.take("30-c", args(&[""])).unwrap();
    assert_eq!(shown(&creation).args, ["first"]);
    assert!(creation.finish().adjustment.args.is_empty());
}

#[test]
fn everybody_may_add_hooks() {
    use crate::api::{Field, Hook, Hooks};
    let hook = |path: &str| Hook { path: path.to_owned(), ..Hook::default() };
    let adds = |path: &str| {
        let hooks = Hooks { poststop: vec![hook(path)], prestart: vec![hook(path)], ..Hooks::default() };
        reply(ContainerAdjustment { hooks: Some(hooks), ..Default::default() })
    };
    let own = Hooks { poststop: vec![hook("/own")], ..Hooks::default() };
    let mut creation = of(Container { hooks: Some(own), ..Container::default() });
    creation.take("10-a", adds("/a")).unwrap();
    creation
        .take("20-b", reply(ContainerAdjustment { hooks: Some(Hooks::default()), ..Default::default() }))
        .unwrap();
    creation.take("30-c", adds("/c")).unwrap();
    assert_eq!(shown(&creation).hooks.as_ref().unwrap().poststop, [hook("/own"), hook("/a"), hook("/c")]);
    let made = creation.finish();
    assert_eq!(made.adjustment.hooks.unwrap().prestart, [hook("/a"), hook("/c")]);
    assert_eq!(made.owners.owners[ID].simple[&(Field::OciHooks as i32)], "10-a,30-c");
}

#[test]
fn a_place_that_is_spelt_in_two_ways_has_one_owner() {
    let mounts = |all: &[&str]| ContainerAdjustment {
        mounts: all.iter().map(|place| mount(place, "/source")).collect(),
        ..Default::default()
    };
    let device = |path: &str| {
        let device = LinuxDevice { path: path.to_owned(), ..LinuxDevice::default() };
        linux(LinuxContainerAdjustment { devices: vec![device], ..Default::default() })
    };
    let mut creation = of(Container::default());
    creation.take("10-a", reply(mounts(&["/a/b"]))).unwrap();
    creation.take("10-a", reply(device("/dev/x"))).unwrap();
    for (asked, field) in [
        (mounts(&["/a//b/."]), r#"Mounts "/a/b""#),
        (mounts(&["a/c/../b/"]), r#"Mounts "/a/b""#),
        (device("/dev//x"), r#"Devices "/dev/x""#),
    ] {
        let error = creation.clone().take("20-b", reply(asked)).unwrap_err().to_string();
        assert_eq!(error, format!(r#"NRI plugins "10-a" and "20-b" both set {field}"#));
    }
    creation.take("20-b", reply(mounts(&["-/a/b/", "/a/./b"]))).unwrap();
    assert_eq!(shown(&creation).mounts, [mount("/a/b", "/source")]);
}

#[test]
fn who_makes_a_container_too_long_to_be_told_of_is_refused() {
    let mut creation = of(Container::default());
    let long = |bytes| ContainerAdjustment { env: vec![pair("A", &"x".repeat(bytes))], ..Default::default() };
    creation.clone().take("10-a", reply(long(3 << 20))).unwrap();
    let error = creation.take("10-a", reply(long(4 << 20))).unwrap_err().to_string();
    assert!(error.starts_with(r#"NRI plugin "10-a" makes container "container" too long"#), "{error}");
}
