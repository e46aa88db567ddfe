#![allow(clippy::unwrap_used)]

use super::*;

/// As jeepney, an implementation of D-Bus in Python, writes it; on machines with this byte order.
const CALL: [&str; 8] = [
    "6c0100019800000007000000b600000001016f00190000002f6f72672f667265656465736b746f702f73797374656d64",
    "310000000000000002017300200000006f72672e667265656465736b746f702e73797374656d64312e4d616e61676572",
    "0000000000000000030173001200000053746172745472616e7369656e74556e69740000000000000601730018000000",
    "6f72672e667265656465736b746f702e73797374656d6431000000000000000008016700107373612873762961287361",
    "28737629290000000e000000636f7274656e2d612e73636f70650000040000006661696c000000006800000000000000",
    "0b0000004465736372697074696f6e0001730000050000006120706f6400000004000000504944730002617500000000",
    "04000000921000000800000044656c6567617465000162000100000000000000080000005461736b734d617800017400",
    "ffffffffffffffff0000000000000000",
];
const REMOVED: [&str; 5] = [
    "6c04000145000000090000007a00000001016f00190000002f6f72672f667265656465736b746f702f73797374656d64",
    "310000000000000002017300200000006f72672e667265656465736b746f702e73797374656d64312e4d616e61676572",
    "0000000000000000030173000a0000004a6f6252656d6f7665640000000000000801670004756f737300000000000000",
    "030000001f0000002f6f72672f667265656465736b746f702f73797374656d64312f6a6f622f33000e000000636f7274",
    "656e2d612e73636f7065000004000000646f6e6500",
];
const MANAGER: Target = Target {
    name: Some("org.freedesktop.systemd1"),
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
};

fn bytes(hex: &[&str]) -> Vec<u8> {
    let hex = hex.concat();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// What a manager answers to a call: a job, or an error with its name.
pub(crate) fn answer(to: u32, job: Result<&str, &str>) -> Vec<u8> {
    let (kind, text, error) = match job {
        Ok(job) => (2, job, None),
        Err(name) => (3, "its text", Some(Field { code: 4, kind: "s", text: name })),
    };
    let mut body = Body::of(&[text]);
    if kind == 2 {
        body.signature = "o".to_owned();
    }
    // The number of the call is the only field that is no text: put in the place of one of the same length.
    let fields: Vec<_> = [Field { code: 200, kind: "g", text: "" }].into_iter().chain(error).collect();
    let mut bytes = body.message(kind, 1, &fields);
    let field = [&[5, 1, b'u', 0][..], &to.to_ne_bytes()].concat();
    assert_eq!(bytes[PREFIX..PREFIX + 8], [200, 1, b'g', 0, 0, 0, 0, 0]);
    bytes[PREFIX..PREFIX + 8].copy_from_slice(&field);
    bytes
}

/// What a manager says when a job of `a.scope` has ended.
pub(crate) fn removed(job: &str, result: &str) -> Vec<u8> {
    let mut body = Body::default();
    body.number(7);
    [job, "a.scope", result].iter().for_each(|text| body.text(text));
    body.signature = "uoss".to_owned();
    let field = |code, kind, text| Field { code, kind, text };
    let manager =
        [field(1, "o", MANAGER.path), field(2, "s", MANAGER.interface), field(3, "s", "JobRemoved")];
    body.message(4, 1, &manager)
}

#[test]
#[cfg(target_endian = "little")]
fn a_call_is_written_as_another_implementation_writes_it() {
    let properties = [
        ("Description", Value::Text("a pod")),
        ("PIDs", Value::Numbers(&[4242])),
        ("Delegate", Value::Truth(true)),
        ("TasksMax", Value::Long(u64::MAX)),
    ];
    let body = Body::with_properties(["corten-a.scope", "fail"], &properties);
    assert_eq!(body.call(7, MANAGER, "StartTransientUnit"), bytes(&CALL));
}

#[test]
#[cfg(target_endian = "little")]
fn a_signal_is_read_as_another_implementation_writes_it() {
    let bytes = bytes(&REMOVED);
    let prefix = bytes[..PREFIX].try_into().unwrap();
    assert_eq!(length(prefix).unwrap(), bytes.len());
    let signal = Message::parse(&bytes).unwrap();
    assert_eq!((signal.kind, signal.member.as_str()), (Kind::Signal, "JobRemoved"));
    assert_eq!(signal.interface, "org.freedesktop.systemd1.Manager");
    assert_eq!(signal.job(), Some(["/org/freedesktop/systemd1/job/3", "corten-a.scope", "done"]));
    assert_eq!(signal.first_text(), None, "its first value is a number");
}

#[test]
fn what_is_cut_or_changed_is_refused_or_read_and_never_panics() {
    let whole = bytes(&REMOVED);
    for end in PREFIX..whole.len() {
        let read = Message::parse(&whole[..end]);
        assert!(read.is_err() || read.unwrap().job().is_none(), "cut at {end}");
    }
    for at in 0..whole.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut changed = whole.clone();
            changed[at] = value;
            let _ = length(changed[..PREFIX].try_into().unwrap());
            let _ = Message::parse(&changed)
                .map(|message| (message.job().is_some(), message.first_text().is_some()));
        }
    }
}

#[test]
fn a_message_of_another_kind_or_too_large_is_refused() {
    let good = Body::of(&["a"]).call(1, MANAGER, "X");
    let with = |at: usize, value: u8| {
        let mut prefix: [u8; PREFIX] = good[..PREFIX].try_into().unwrap();
        prefix[at] = value;
        length(&prefix).unwrap_err().to_string()
    };
    assert_eq!(length(good[..PREFIX].try_into().unwrap()).unwrap(), good.len());
    assert!(with(0, b'?').contains("another byte order"));
    assert!(with(3, 2).contains("version"));
    assert!(with(7, 0x7f).contains("too large") || with(4, 0x7f).contains("too large"));
    assert!(with(15, 0xff).contains("too large") || with(12, 0xff).contains("too large"));
}
